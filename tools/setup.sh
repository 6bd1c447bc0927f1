#!/usr/bin/env bash
# Makes .venv and installs into it what the main job ("demo"), the window ("app") or also the tests ("dev") need.
# pip's own settings (links, indexes, certificate) are handed on to uv, which does not read them.
set -euo pipefail
cd "$(dirname "$0")/.."

qt_packages=(xvfb xauth libegl1 libgl1 libdbus-1-3 libglib2.0-0 libfontconfig1
    libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0)

main() {
    local purpose=$1 begin=$SECONDS
    make_environment
    adopt_pip_settings
    case $purpose in
        demo) install -e '.[train]' ;;
        app)
            install -e '.[train,pyqt6]'
            add_qt_libraries
            ;;
        dev)
            install -e '.[train,pyqt6]' --group dev
            add_qt_libraries
            touch .venv/.ready-dev
            ;;
        *) stop "There is no set-up called '$purpose'. Say demo, app or dev." ;;
    esac
    if [ "$purpose" != demo ]; then touch .venv/.ready-app; fi
    touch .venv/.ready-demo
    say "Ready after $((SECONDS - begin)) s, in .venv."
}

say() { printf '%s\n' "$*" >&2; }

stop() {
    say "$@"
    exit 1
}

may_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() { # a dead network must not stop anything for long
    local limits=(-o Acquire::Retries=1 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=120)
    DEBIAN_FRONTEND=noninteractive apt-get "${limits[@]}" install -y -qq --no-install-recommends "$@" >/dev/null
}

make_environment() {
    if [ ! -x .venv/bin/python ]; then
        local python version
        python=$(find_python) || stop "Python 3.11 or newer is needed and was not found." \
            "Install it (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 …"
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if ! "$python" -c 'import ensurepip' 2>/dev/null; then
            say "Installing python$version-venv …"
            { may_apt && apt-get update -qq && apt_install "python$version-venv"; } ||
                stop "This Python cannot make environments. As root: apt-get install python$version-venv"
        fi
        say "Making .venv with Python $version …"
        "$python" -m venv .venv
    fi
    if [ ! -x .venv/bin/uv ]; then
        .venv/bin/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt uv
    fi
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

adopt_pip_settings() {
    local settings links index more certificate
    settings=$(.venv/bin/python -m pip config list)
    links=$(pip_setting find-links)
    index=$(pip_setting index-url)
    more=$(pip_setting extra-index-url)
    certificate=$(pip_setting cert)
    if [ -n "$links" ]; then export UV_FIND_LINKS=${UV_FIND_LINKS:-${links// /,}}; fi
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
    # Like pip, take the best version of all indexes; uv by itself stops at the first that knows the name.
    if [ -n "$more" ]; then export UV_INDEX=${UV_INDEX:-$more} UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match}; fi
    if [ -f "$certificate" ]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificate}; fi
    # Nobody said where torch comes from: let uv choose the build for this machine, small where there is no GPU.
    if [ -z "$links$index$more" ]; then export UV_TORCH_BACKEND=${UV_TORCH_BACKEND:-auto}; fi
}

pip_setting() { # the first line that sets $1: the environment is listed before the files
    sed -n "/^[^=]*\.$1='/{s/^[^=]*='\(.*\)'\$/\1/;s/\\\\n/ /g;s/^ *//;p;q}" <<<"$settings"
}

install() {
    local loud=()
    if [ ! -t 2 ]; then loud=(--quiet); fi
    say "Installing napari-medaka-kd and what it needs …"
    uv_install "${loud[@]}" "$@" && return
    [ "${UV_TORCH_BACKEND:-}" = auto ] || return 1
    say "That did not work; once more with the default build of torch …"
    unset UV_TORCH_BACKEND
    uv_install "${loud[@]}" "$@"
}

uv_install() { .venv/bin/uv pip install --python .venv/bin/python --constraint constraints.txt "$@"; }

add_qt_libraries() { # only the window and its tests need them, so nothing fails without them
    local missing=() package
    if [ "$(uname -s)" != Linux ]; then return; fi
    if ! command -v dpkg-query >/dev/null; then
        command -v xvfb-run >/dev/null || say "For the tests of the window install Xvfb and Qt's libraries (xcb, EGL, GL, D-Bus)."
        return
    fi
    for package in "${qt_packages[@]}"; do
        has_package "$package" || has_package "${package}t64" || missing+=("$package")
    done
    if [ ${#missing[@]} = 0 ]; then return; fi
    if may_apt && say "Installing ${#missing[@]} packages for Qt and Xvfb …" && apt-get update -qq && install_renamed "${missing[@]}"; then return; fi
    say "For the tests of the window, as root: apt-get install ${missing[*]}"
}

has_package() { dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

install_renamed() { # newer Debian and Ubuntu say libglib2.0-0t64 where older ones say libglib2.0-0
    local names=() package
    for package in "$@"; do
        if apt-cache show "${package}t64" >/dev/null 2>&1; then names+=("${package}t64"); else names+=("$package"); fi
    done
    apt_install "${names[@]}"
}

main "$@"
