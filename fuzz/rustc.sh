#!/bin/sh
# Runs rustc as cargo asks. The stable toolchain ships the sanitizers' runtimes and gates only the
# flag, so for cargo-fuzz's builds, and for no others, the gate is opened.
for argument do
    case $argument in
        -Zsanitizer=*) export RUSTC_BOOTSTRAP=1 ;;
    esac
done
exec "$@"
