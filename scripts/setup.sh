# setup.sh - what quickstart and check share: finding and installing packages, configuring, building.
# Sourced. The caller sets: me (its name), what (what it is for), packages (Debian names).
# shellcheck shell=sh disable=SC2154
set -eu

srcdir=$(cd "$(dirname "$0")/.." && pwd)
build=${RILL_BUILD:-$srcdir/build}
dry=no yes=no install=yes configure_options=

setup_usage() {
    cat <<END
Usage: scripts/$me [--dry-run] [--yes] [--no-install] [CONFIGURE-OPTION]...
$what

  --dry-run      print what would be done; change nothing
  --yes          install missing packages without asking
  --no-install   do not look for packages
  --help         this text

The build goes to ${build#"$PWD"/} (RILL_BUILD names another folder).
END
}

say() {
    printf '%s: %s\n' "$me" "$*"
}

die() {
    printf '%s: %s\n' "$me" "$*" >&2
    exit 4
}

# Says a command, then runs it unless --dry-run was given.
run() {
    printf '+ %s\n' "$*"
    [ $dry = yes ] || "$@"
}

setup_options() {
    for arg in "$@"; do
        case $arg in
        --dry-run | -n) dry=yes ;;
        --yes | -y) yes=yes ;;
        --no-install) install=no ;;
        --help | -h) setup_usage; exit 0 ;;
        --[a-z]*=* | --with* | --enable-* | --disable-*) configure_options="$configure_options $arg" ;;
        *) printf "%s: unknown option '%s' (--help lists them)\n" "$me" "$arg" >&2; exit 2 ;;
        esac
    done
}

# Debian 12 and later, and Ubuntu: their package names are the ones we know.
known_system() {
    [ -r "${RILL_OS_RELEASE:=/etc/os-release}" ] || return 1
    # shellcheck disable=SC1090
    (. "$RILL_OS_RELEASE" && case "${ID-}:${VERSION_ID-}" in
        debian: | debian:1[2-9] | ubuntu:2[2-9].* ) exit 0 ;;
        *) exit 1 ;;
    esac) && command -v dpkg-query >/dev/null && command -v apt-get >/dev/null
}

missing_packages() {
    for p in $packages; do
        case $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null) in
        *' installed') ;;
        *) printf ' %s' "$p" ;;
        esac
    done
}

setup_packages() {
    [ $install = yes ] || return 0
    if ! known_system; then
        say "this system is neither Debian 12 or later nor Ubuntu 22.04 or later. What is needed:"
        say "a C11 compiler, make, and the libraries (with headers) that Debian calls"
        say "  $packages"
        say "When they are there: scripts/$me --no-install"
        [ $dry = yes ] && exit 0
        exit 4
    fi
    missing=$(missing_packages)
    if [ -z "$missing" ]; then
        say 'all packages needed are installed'
        return 0
    fi
    say "missing packages:$missing"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null; then
            as_root=sudo
        elif [ $dry = no ]; then
            die "needs root to install them; as root: apt-get install$missing"
        fi
    fi
    if [ $dry = no ] && [ $yes = no ] && [ -t 0 ]; then
        printf 'Install them now with apt-get? [Y/n] '
        read -r answer || answer=n
        case $answer in
        '' | [yY]*) ;;
        *) die "not installed; later: apt-get install$missing" ;;
        esac
    fi
    # stale lists may still do; what is missing then is said by the next line
    run $as_root apt-get update -q || say 'apt-get update failed; trying with the lists there are'
    # shellcheck disable=SC2086
    run $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        $missing || die "apt-get could not install:$missing"
}

setup_build() { # setup_build TARGET...: configures and makes the targets
    [ $dry = yes ] || mkdir -p "$build"
    run cd "$build"
    # shellcheck disable=SC2086
    run "$srcdir/configure" $configure_options || exit 4
    run make -j"$(nproc 2>/dev/null || echo 2)" "$@" || die 'the build failed'
}
