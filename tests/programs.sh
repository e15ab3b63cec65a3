#!/bin/sh
# Runs CGI programs from elsewhere, unmodified, under Caffeine: the blocks of docs/recipes.md as they
# stand, then what a user would do with them. Leaves out what is not installed, and says so.
#
#   tests/programs.sh [CAFFEINE]          target/debug/caffeine unless named
#
# KEEP=1 lets the server run until Enter is pressed, to look at the pages.
set -eu
binary=${1:-${CARGO_TARGET_DIR:-target}/debug/caffeine}
binary=$(realpath "$binary")
recipes=$(realpath "$(dirname "$0")/../docs/recipes.md")

HOME=$(mktemp -d)
export HOME no_proxy='*' GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
cd "$HOME"
server=
ran=0

finish() {
    status=$?
    trap - EXIT
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || status=1
    fi
    [ "$status" -eq 0 ] || cat "$HOME/err" >&2
    rm -rf "$HOME"
    exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

fail() {
    echo "programs: $*" >&2
    exit 1
}

expect() {
    [ "$2" = "$1" ] || fail "wanted '$1', got '$2'"
}

# Prints the blocks of a language below the heading that begins so; with a third word, only those
# that contain it.
blocks() {
    awk -v language="$1" -v heading="## $2" -v word="${3:-}" '
        /^## / { here = index($0, heading) == 1 }
        here && $0 == "```" language { inside = 1; text = ""; next }
        inside && $0 == "```" { inside = 0; if (index(text, word)) printf "%s", text }
        inside { text = text $0 "\n" }
    ' "$recipes"
}

# Runs the blocks; their last line prints what a client gets.
recipe() {
    blocks sh "$@" | sed "s#http://localhost:8080#$url#" >"$HOME/block"
    [ -s "$HOME/block" ] || fail "no block for '$*' in $recipes"
    sh -eu "$HOME/block" 2>"$HOME/block.err" || {
        cat "$HOME/block.err" >&2
        fail "the recipe '$*' fails"
    }
}

# Whether this is there; says so if not.
has() {
    name=$1
    shift
    if "$@" >/dev/null 2>&1; then
        echo "programs: $name"
        ran=$((ran + 1))
    else
        echo "programs: $name is not installed: left out"
        return 1
    fi
}

get() {
    curl -fsS --max-time 30 "$@"
}

# A form, a file and a chunked form, at a handler that prints method and name, then the file's size.
try_form() {
    expect "POST Ada" "$(recipe "$2" "$1")"
    head -c 300000 /dev/urandom >file
    expect "POST Bob
300000 bytes" "$(get -F name=Bob -F file=@file "$url/$1")"
    expect "POST Eve" "$(get -H 'Transfer-Encoding: chunked' -d name=Eve "$url/$1")"
}

try_python() {
    expect "POST /a/b 8" "$(recipe 'A script' wsgi.py)"
    expect "PUT /x 300000" "$(head -c 300000 /dev/zero | get -T - "$url/wsgi.py/x")"
}

# Small, chunked (above http.postBuffer) and larger than max-body's default.
try_git() {
    recipe git: >/dev/null
    git -C project config user.name Ada
    git -C project config user.email ada@example.org
    git -C project config http.postBuffer 65536
    for size in 100 300000 17000000; do
        head -c "$size" /dev/urandom >project/file
        git -C project add file
        git -C project commit -qm "$size bytes"
        GIT_CURL_VERBOSE=1 git -C project push origin HEAD >push.log 2>&1 || {
            cat push.log >&2
            fail "the push of $size bytes fails"
        }
        if [ "$size" -gt 65536 ]; then
            grep -qi 'send header: transfer-encoding: chunked' push.log || fail "not pushed in chunks"
        fi
        rm -rf again
        git clone -q "$url/git/project.git" again
        cmp project/file again/file
    done
}

try_gitweb() {
    recipe gitweb | grep 'project\.git' >/dev/null || fail "gitweb does not list the project"
    get "$url/gitweb?p=project.git;a=log" | grep '17000000 bytes' >/dev/null || fail "gitweb shows no log"
    get "$url/gitweb-static/gitweb.css" | cmp - /usr/share/gitweb/static/gitweb.css
}

try_cgit() {
    recipe cgit | grep 'project\.git' >/dev/null || fail "cgit does not list the project"
    get "$url/cgit/project.git/log/" | grep '17000000 bytes' >/dev/null || fail "cgit shows no log"
    get "$url/cgit-static/cgit.png" | cmp - /usr/share/cgit/cgit.png
}

start() {
    mkdir -p .config/caffeine
    blocks ini git: >caffeine.conf
    "$binary" --config caffeine.conf --bind 127.0.0.1 --port 0 \
        --socket "$HOME/socket" --pid-file "$HOME/pid" 2>err >out </dev/null &
    server=$!
    url=
    for _ in $(seq 200); do
        url=$(grep -ohE 'http://127\.0\.0\.1:[0-9]+' err | head -n 1) || true
        [ -z "$url" ] || return 0
        kill -0 "$server" || fail "the server ended"
        sleep 0.05
    done
    fail "the server does not say its address"
}

start
if has 'Perl with CGI.pm' perl -MCGI -e 1; then try_form form.pl 'A script'; fi
if has Python python3 -c 'import wsgiref.handlers'; then try_python; fi
if has php-cgi test -x /usr/bin/php-cgi; then
    try_form form.php PHP
    expect "app /page" "$(recipe PHP index.php)"
fi
if has git test -x "$(git --exec-path)/git-http-backend"; then
    try_git
    if has 'gitweb with CGI.pm' sh -c 'test -x /usr/share/gitweb/gitweb.cgi && perl -MCGI -e 1'; then try_gitweb; fi
    if has cgit test -x /usr/lib/cgit/cgit.cgi; then try_cgit; fi
fi
if [ -n "${KEEP:-}" ]; then
    echo "programs: serving on $url until Enter is pressed"
    read -r _ || true
fi
echo "programs: $ran kinds run"
