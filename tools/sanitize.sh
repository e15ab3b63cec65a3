#!/bin/sh
# Looks for errors in memory: with AddressSanitizer below the black-box suite, and with valgrind below
# the unit tests.
#
#   tools/sanitize.sh address [TEST...]    server and suite built with ASan
#   tools/sanitize.sh valgrind [TEST...]   takes minutes; needs valgrind
#
# TEST chooses as `cargo test TEST` does. Both leave target/ as it is and need no nightly toolchain.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "sanitize: $*" >&2
    exit 1
}

# The harness hands ASAN_OPTIONS on to the server and nothing else, so that reports of the server, its
# workers and the children between clone and exec all arrive in one folder.
address() {
    target=${CARGO_TARGET_DIR:-target}/sanitize
    export ASAN_OPTIONS="log_path=$work/report" RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address
    cargo build --locked --target "$host" --target-dir "$target"
    grep -aq __asan_report "$target/$host/debug/caffeine" || fail "the server is not instrumented"
    status=0
    cargo test --locked --target "$host" --target-dir "$target" --test black_box "$@" || status=$?
    # The child that cannot exec leaves by _exit on a stack that the worker has made for it. ASan does
    # not know this stack, says so, and checks on.
    cat "$work"/report* 2>/dev/null |
        grep -vE 'ASan is ignoring requested __asan_handle_no_return|^False positive error reports|issues/189$' >"$work/all" || true
    [ ! -s "$work/all" ] || {
        cat "$work/all" >&2
        fail "there are reports"
    }
    [ "$status" -eq 0 ] || fail "the suite fails"
    echo "sanitize: address: clean"
}

# Leaks count if they are definite: libtest's other threads, which a forked child does not have, hold
# what is only "possibly" lost. No --error-exitcode: valgrind would put it in place of the exit
# status of a child that a test judges.
valgrind_() {
    command -v valgrind >/dev/null || fail "valgrind is not installed"
    program=$(cargo test --locked --lib --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
    [ -x "$program" ] || fail "there is no test program"
    status=0
    valgrind --trace-children=no --leak-check=full --errors-for-leak-kinds=definite \
        --show-leak-kinds=definite --suppressions=tools/valgrind.supp --log-file="$work/valgrind.%p" \
        "$program" "$@" || status=$?
    for log in "$work"/valgrind.*; do
        # A child that became another program ends its log without a summary.
        if grep -q 'ERROR SUMMARY: [^0]' "$log"; then
            cat "$log" >&2
            fail "there are errors"
        fi
    done
    grep -q 'ERROR SUMMARY: 0' "$work"/valgrind.* || fail "valgrind gave no summary"
    [ "$status" -eq 0 ] || fail "the tests fail"
    echo "sanitize: valgrind: clean"
}

kind=${1:-}
[ $# -eq 0 ] || shift
case $kind in
address) address "$@" ;;
valgrind) valgrind_ "$@" ;;
*) fail "usage: tools/sanitize.sh address|valgrind [TEST...]" ;;
esac
