#!/bin/sh
# Builds Caffeine and leaves the binary and a Makefile in build/. See usage() below.
set -eu

usage() {
    cat <<'END'
Usage: ./build.sh [PREFIX]

Builds Caffeine's release binary, a static one where that is possible, creates
~/.config/caffeine, and leaves in build/ the binary and a Makefile. Then

    cd build
    make install        copies it to PREFIX/bin (and "make uninstall" removes it)

PREFIX     where "make install" puts things: a path, default ~/.local
--help     prints this

Environment: CARGO_TARGET_DIR, CARGO_HOME, RUSTUP_HOME and RUSTC mean what they mean to cargo.
END
}

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

misused() {
    printf 'build.sh: %s (./build.sh --help says more.)\n' "$*" >&2
    exit 2
}

say() {
    printf '%s\n' "$*"
}

# ---- arguments -------------------------------------------------------------------------------

# Sets prefix: absolute, without a slash at its end.
read_arguments() {
    for word in "$@"; do
        case $word in
        -h | --help)
            usage
            exit 0
            ;;
        esac
    done
    [ $# -le 1 ] || misused "One PREFIX is enough: '$2' is one word too many."
    [ -n "${HOME:-}" ] ||
        die "HOME is not set, so there is no place for ~/.config/caffeine; set it, as in HOME=/root ./build.sh."
    case $HOME in
    /*) ;;
    *) die "HOME is '$HOME', which is not an absolute path." ;;
    esac
    [ $# -eq 1 ] || set -- "$HOME/.local"
    case $1 in
    '') misused "PREFIX is empty." ;;
    -*) misused "'$1' is no option of build.sh." ;;
    /*) prefix=$1 ;;
    . | .. | */*) prefix=$(pwd)/${1#./} ;;
    *) misused "'$1' is neither an option nor a path; for a folder of that name here say './$1'." ;;
    esac
    prefix=${prefix%/}
    case $prefix in
    *[\'\"\`\\]* | *"
"*) misused "PREFIX '$prefix' has a quote, a backslash or a line break, which a Makefile cannot carry." ;;
    esac
}

# ---- checks before anything is built ---------------------------------------------------------

# True if version $1 (1.88.0) is at least $2 (1.88).
at_least() {
    printf '%s\n%s\n' "$1" "$2" | awk -F. '
        NR == 1 { major = $1; minor = $2 }
        NR == 2 { exit !(major > $1 || (major == $1 && minor >= $2)) }'
}

how_to_get_rust() {
    say "rustup: curl -sSf https://sh.rustup.rs | sh; or apt: apt install rustc-web cargo-web (Debian 12), apt install cargo (newer ones)."
}

find_cargo() {
    # rustup's installer changes PATH for the next login only.
    cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
    if ! command -v cargo >/dev/null 2>&1 && [ -x "$cargo_bin/cargo" ]; then
        PATH=$cargo_bin:$PATH
        export PATH
    fi
    command -v cargo >/dev/null 2>&1 ||
        die "cargo is not installed. Get Rust $wanted or newer with $(how_to_get_rust)"
    rustc=${RUSTC:-rustc}
    cargo_version=$(cargo --version 2>&1) ||
        die "$(command -v cargo) does not run (it says: $(say "$cargo_version" | head -n 1)). With rustup, 'rustup default stable' may help, or CARGO_HOME and RUSTUP_HOME must say where it lives."
    rustc_facts=$("$rustc" -vV 2>/dev/null) ||
        die "'$rustc' does not run, though cargo does. Get Rust $wanted or newer with $(how_to_get_rust)"
    version=$(say "$rustc_facts" | sed -n 's/^release: //p')
    host=$(say "$rustc_facts" | sed -n 's/^host: //p')
    at_least "$version" "$wanted" ||
        die "rustc $version is too old, Caffeine needs $wanted. With rustup say 'rustup update stable'; else get it with $(how_to_get_rust)"
    cargo_version=$(say "$cargo_version" | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
    at_least "$cargo_version" "$wanted" ||
        die "cargo $cargo_version is too old, Caffeine needs $wanted. With rustup say 'rustup update stable'; else get it with $(how_to_get_rust)"
    command -v cc >/dev/null 2>&1 ||
        die "cc is not installed; Rust links with it (Debian: apt install gcc libc6-dev)."
}

# Fails now, and not after a long build, if the folder cannot be made.
check_config_folder() {
    config=$HOME/.config/caffeine
    existing=$config
    while [ ! -e "$existing" ] && [ "$existing" != / ]; do
        existing=$(dirname "$existing")
    done
    [ -d "$existing" ] || die "$config cannot be made: $existing is not a folder."
    [ "$existing" = "$config" ] || [ -w "$existing" ] ||
        die "$config cannot be made: $existing is not writable for you."
}

# ---- the three ways to build -----------------------------------------------------------------

# The musl target of this machine, or nothing.
musl_target_of() {
    case $1 in
    x86_64-*-linux-*) say x86_64-unknown-linux-musl ;;
    i?86-*-linux-*) say i686-unknown-linux-musl ;;
    aarch64-*-linux-*) say aarch64-unknown-linux-musl ;;
    armv7*-*-linux-*hf) say armv7-unknown-linux-musleabihf ;;
    arm-*-linux-*hf) say arm-unknown-linux-musleabihf ;;
    riscv64*-*-linux-*) say riscv64gc-unknown-linux-musl ;;
    esac
}

# True if the compiler has std for the musl target and its programs link and run.
musl_target_works() {
    say 'fn main() {}' >"$work/probe.rs"
    "$rustc" --target "$musl" -C target-feature=+crt-static -o "$work/probe" "$work/probe.rs" \
        >/dev/null 2>&1 && "$work/probe"
}

add_musl_target() {
    command -v rustup >/dev/null 2>&1 || return 1
    say "Asking rustup for $musl ..."
    limit=
    if command -v timeout >/dev/null 2>&1; then limit='timeout 300'; fi
    # shellcheck disable=SC2086  # a command and its argument, or nothing
    $limit rustup target add "$musl" </dev/null >/dev/null 2>&1
}

# True if the parts for a std built from source are here: see packaging/musl.toml.
source_std_is_here() {
    case $musl in
    x86_64-* | aarch64-* | armv7-* | riscv64gc-*) ;;
    *) return 1 ;;
    esac
    command -v musl-gcc >/dev/null 2>&1 || return 1
    facts=$(RUSTUP_AUTO_INSTALL=0 /usr/bin/rustc -vV 2>/dev/null) || return 1
    # panic = "immediate-abort" in packaging/musl.toml.
    at_least "$(say "$facts" | sed -n 's/^release: //p')" 1.92 || return 1
    [ "$(say "$facts" | sed -n 's/^host: //p')" = "$host" ] || return 1
    sysroot=$(/usr/bin/rustc --print sysroot) || return 1
    [ -f "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ] || return 1
    sh packaging/musl-crt.sh target/musl-crt >/dev/null 2>&1
}

run_cargo() {
    cargo "$@" >&2 || die "cargo could not build Caffeine; its own messages stand above."
}

build_with_target() {
    run_cargo --config "target.$musl.rustflags=['-C','target-feature=+crt-static']" \
        build --release --locked --bin caffeine --target "$musl" --target-dir "$target_dir"
    binary=$target_dir/$musl/release/caffeine
    kind="a static binary (musl)"
}

build_with_source_std() {
    say "Building std from source for $musl, a minute the first time ..."
    # RUSTFLAGS would replace the flags of packaging/musl.toml, RUSTC its compiler.
    (
        unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
        export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
        run_cargo --config packaging/musl.toml \
            build --release --locked --bin caffeine --target "$musl" --target-dir "$target_dir/musl"
    )
    binary=$target_dir/musl/$musl/release/caffeine
    kind="a static binary (musl, std built from source)"
}

# Never glibc with crt-static: it crashes in initgroups() and getpwnam() where nsswitch.conf
# names a module, as Debian's does.
build_dynamic() {
    run_cargo build --release --locked --bin caffeine --target "$host" --target-dir "$target_dir"
    binary=$target_dir/$host/release/caffeine
    case $host in
    *-gnu*) libc=glibc ;;
    *-musl*) libc=musl ;;
    *) libc="the C library" ;;
    esac
    kind="a binary linked to this system's $libc"
    [ -z "$musl" ] || kind="$kind (not static: $musl is not installed and could not be added)"
}

build_binary() {
    musl=$(musl_target_of "$host")
    # With std from source the binary is the smallest.
    if [ -n "$musl" ] && source_std_is_here; then
        build_with_source_std
    elif [ -n "$musl" ] && { musl_target_works || { add_musl_target && musl_target_works; }; }; then
        build_with_target
    else
        build_dynamic
    fi
    [ -f "$binary" ] || die "cargo succeeded, but $binary is not there."
    cp "$binary" "$work/caffeine"
    "$work/caffeine" --version </dev/null >/dev/null 2>&1 ||
        die "the binary was built but does not run; '$binary --version' shows why."
}

# ---- build/ ----------------------------------------------------------------------------------

# Writes one text that the binary prints about itself, or says that it is missing.
# $1 what it is, $2 the file, the rest the options that print it.
print_from_binary() {
    what=$1 file=$2
    shift 2
    if "$work/caffeine" "$@" </dev/null >"$work/$file" 2>/dev/null && [ -s "$work/$file" ]; then
        return 0
    fi
    rm -f "$work/$file"
    say "The binary did not print its $what ('caffeine $*'), so it will not be installed."
}

write_texts() {
    print_from_binary "man page" caffeine.man --print-man
    if [ -f "$work/caffeine.man" ]; then
        section=$(sed -n 's/^\.\(Dt\|TH\)  *[^ ]*  *\([1-8]\).*/\2/p' "$work/caffeine.man" | head -n 1)
        mv "$work/caffeine.man" "$work/caffeine.${section:-1}"
    fi
    for shell in bash zsh fish; do
        print_from_binary "$shell completions" "caffeine.$shell" --print-completions "$shell"
    done
}

write_makefile() {
    # A dollar sign and a number sign mean something to make.
    MAKE_PREFIX=$(printf '%s' "$prefix" | sed 's/\$/$$/g; s/#/\\#/g') awk '{
        at = index($0, "@PREFIX@")
        if (at) $0 = substr($0, 1, at - 1) ENVIRON["MAKE_PREFIX"] substr($0, at + 8)
        print
    }' packaging/Makefile.in >"$work/Makefile"
}

# Moves the finished files into place, each whole. Files of an earlier build go.
fill_build_folder() {
    mkdir -p "$config" || die "$config could not be made."
    mkdir -p build || die "$root/build could not be made."
    rm -f build/caffeine.[1-8] build/caffeine.bash build/caffeine.zsh build/caffeine.fish
    for file in "$work"/caffeine* "$work"/Makefile; do
        mv -f "$file" build/ || die "$root/build could not be written."
    done
}

main() {
    read_arguments "$@"
    root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
    # Relative to where the user is, as cargo has it.
    target_dir=${CARGO_TARGET_DIR:-$root/target}
    case $target_dir in
    /*) ;;
    *) target_dir=$(pwd)/$target_dir ;;
    esac
    cd "$root"
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)"/\1/p' Cargo.toml)
    find_cargo
    check_config_folder
    if [ -e build ] && [ ! -d build ]; then
        die "$root/build is in the way: it is not a folder."
    fi

    work=$root/.build.$$
    trap 'rm -rf "$work"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir "$work" || die "$root is not writable for you; the result would go into $root/build."

    build_binary
    write_texts
    write_makefile
    fill_build_folder
    say "Made build/caffeine, $kind of $((($(wc -c <build/caffeine) + 1023) / 1024)) KiB. Handlers go into $config."
    say "Next: cd build && make install    (to $prefix)"
}

main "$@"
