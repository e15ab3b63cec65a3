#!/bin/sh
# Makes the folder from which a static musl build links: start files, libc.a, a stub unwinder.
# rustup's musl target carries these files itself; this is for a std built from source.
#
# Usage: packaging/musl-crt.sh [FOLDER]      (default target/musl-crt)
set -eu

die() {
    echo "musl-crt.sh: $*" >&2
    exit 1
}

out=${1:-target/musl-crt}
case $out in -*) out=./$out ;; esac
stub=$(dirname "$0")/unwind-stub.c

for tool in gcc musl-gcc ar; do
    command -v "$tool" >/dev/null 2>&1 ||
        die "$tool is not installed (Debian: apt install gcc musl-tools)."
done

# Debian names musl's folder like gcc's, with musl for gnu; others use these fixed places.
musl=
for folder in "/usr/lib/$(gcc -dumpmachine | sed 's/gnu/musl/')" /usr/lib/musl/lib /usr/local/musl/lib; do
    if [ -f "$folder/libc.a" ] && [ -f "$folder/rcrt1.o" ]; then
        musl=$folder
        break
    fi
done
[ -n "$musl" ] || die "musl's libc.a and rcrt1.o were not found (Debian: apt install musl-dev)."

mkdir -p "$out"
for file in crt1.o rcrt1.o crti.o crtn.o libc.a; do
    ln -sf "$musl/$file" "$out/$file"
done
for file in crtbegin.o crtbeginS.o crtend.o crtendS.o; do
    path=$(gcc -print-file-name="$file")
    # gcc answers with the bare name when it does not have the file.
    [ -f "$path" ] || die "gcc does not have $file."
    ln -sf "$path" "$out/$file"
done

work=$out/unwind-stub.$$.o
trap 'rm -f "$work" "$work.a"' EXIT
trap 'exit 1' HUP INT TERM
musl-gcc -Os -fPIC -c "$stub" -o "$work" || die "unable to compile $stub."
ar crs "$work.a" "$work" || die "unable to make $out/libunwind.a."
mv -f "$work.a" "$out/libunwind.a"
