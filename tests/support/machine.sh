# shellcheck shell=bash
# What demo.sh and test.sh share: bring a Debian or Ubuntu machine to where Moored runs.
#
# Sourced, not run. Every step looks first and does only what is missing, so all can be run
# again at any time; what a step did goes to a log file, of which an error shows the end.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
state=$root/.moored
log=$state/setup.log
python=$root/.venv/bin/python

step() { printf '\n==> %s\n' "$*"; }
say() { printf '    %s\n' "$*"; }
fail() {
    printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2
    shift
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 1
}

# `quietly WHAT COMMAND…`: run it, its output into the log; when it fails, show the log's end.
quietly() {
    local what=$1
    shift
    printf '\n### %s: %s\n' "$(date '+%F %T')" "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null || {
        tail -n 15 "$log" | sed 's/^/    | /' >&2
        fail "$what failed (all of its output: $log)"
    }
}

# Docker, and the services that tests start, belong to root: go on as root from here.
become_root() {
    [ "$(id -u)" -ne 0 ] || return 0
    command -v sudo >/dev/null || fail "this needs root, and there is no sudo here" "run it as root"
    printf 'Installing packages and steering Docker need root: going on with sudo.\n'
    exec sudo -E -- bash "$0" "$@"
}

prepare_state() {
    mkdir -p "$state"
    chmod 700 "$state"
    : >>"$log"
}

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

apt_lists_fresh=
refresh_apt() {
    [ -z "$apt_lists_fresh" ] || return 0
    quietly "apt-get update" apt-get update
    apt_lists_fresh=yes
}

# `apt_install PACKAGE…`: those that are missing. Services among them are not started: whoever
# tests on his laptop wants no database or web server listening there from now on.
apt_install() {
    local missing=() package
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || {
        say "packages: all there"
        return 0
    }
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}" "This script installs on Debian and Ubuntu only; install these by hand."
    say "installing ${missing[*]}"
    refresh_apt
    quietly "apt-get install" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# The same, for packages that bring a service we start ourselves, when and where we want it.
apt_install_unstarted() {
    local policy=/usr/sbin/policy-rc.d ours= package
    local missing=()
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    if [ ${#missing[@]} -gt 0 ] && [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        ours=yes
        # shellcheck disable=SC2064
        trap "rm -f $policy" EXIT
    fi
    apt_install "$@"
    if [ -n "$ours" ]; then
        rm -f $policy
        trap - EXIT
        # Debian also enables what it installs for the next boot.
        if [ -d /run/systemd/system ]; then
            for package in "${missing[@]}"; do
                case $package in
                openssh-server) systemctl disable --quiet ssh.service ssh.socket ;;
                postgresql | prometheus | docker-registry) systemctl disable --quiet "$package.service" ;;
                esac
            done >>"$log" 2>&1 || true
        fi
    fi
}

is_available() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

# Sets `system_python` to a Python ≥ 3.11 that can make virtual environments.
find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            system_python=$candidate
            return 0
        fi
    done
    return 1
}

install_python() {
    if ! find_python; then
        apt_install python3 python3-venv
        # Ubuntu 22.04's own is 3.10; it has 3.11 beside it.
        if ! find_python && is_available python3.11-venv; then apt_install python3.11 python3.11-venv; fi
        find_python || fail "no Python ≥ 3.11 on this machine ($(python3 --version 2>&1))" \
            "Debian 12 and Ubuntu 24.04 (or 22.04 with universe) have one."
    fi
    say "$("$system_python" --version)"
}

# `make_venv LOCK`: .venv with what the lock file names, hashes checked, and the project itself.
make_venv() {
    local lock=$root/$1 stamp=$root/.venv/.installed-$1 wanted
    wanted=$(cat "$lock" "$root/pyproject.toml" | sha256sum | cut -d' ' -f1)
    if ! "$python" -c 'import pip' 2>/dev/null; then
        say "making .venv"
        quietly "making a virtual environment" "$system_python" -m venv --clear "$root/.venv"
    fi
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        say "$1: installed already"
        return 0
    fi
    say "installing $1 ($(grep -c '^[a-z0-9].*==' "$lock") packages, hashes checked)"
    quietly "pip install" "$python" -m pip install --disable-pip-version-check --require-hashes -r "$lock"
    quietly "installing moored itself" "$python" -m pip install --disable-pip-version-check \
        --no-deps --no-build-isolation --editable "$root"
    printf '%s\n' "$wanted" >"$stamp"
}

# Isolated, so that no module beside the file can take the place of a standard one.
docker_api() { "${system_python:-python3}" -I "$root/tests/support/docker_api.py" "$@"; }

engine_answers() { docker_api ping 2>/dev/null; }

# The `docker` command, which newer Debians have in a package of its own. The product needs none;
# people and a few tests do.
ensure_docker_command() {
    command -v docker >/dev/null && return 0
    if is_available docker-cli; then apt_install docker-cli; else apt_install docker.io; fi
}

# A pid file that outlived its process, whose number now belongs to another, keeps dockerd from
# starting, or makes it wait for a containerd that is not one.
drop_stale_pid() {
    local file=$1 program=$2 pid
    pid=$(cat "$file" 2>/dev/null) || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$program" ] || rm -f "$file"
}

# Makes sure that an Engine answers at the usual socket. Sets `started_engine` to the pid of the
# dockerd that had to be started by hand, if any.
started_engine=
ensure_engine() {
    if engine_answers; then
        say "$(docker_api version) answers already"
        return 0
    fi
    if ! command -v dockerd >/dev/null; then
        apt_install docker.io iptables ca-certificates
        ensure_docker_command
    fi
    local attempt
    if [ -d /run/systemd/system ]; then
        quietly "starting Docker" systemctl start docker
    else
        say "starting dockerd (log: $state/dockerd.log)"
        drop_stale_pid /var/run/docker.pid dockerd
        drop_stale_pid /var/run/docker/containerd/containerd.pid containerd
        # In a container /sys is often read-only, which the bridge's settings need not be.
        [ -w /sys ] || mount -o remount,rw /sys 2>/dev/null || true
        setsid dockerd >"$state/dockerd.log" 2>&1 </dev/null &
        started_engine=$!
    fi
    for attempt in $(seq 120); do
        if engine_answers; then
            say "$(docker_api version) started"
            return 0
        fi
        if [ -n "$started_engine" ] && ! kill -0 "$started_engine" 2>/dev/null; then
            tail -n 12 "$state/dockerd.log" | sed 's/^/    | /' >&2
            fail "dockerd ended while starting (all of its output: $state/dockerd.log)"
        fi
        sleep 0.5
    done
    docker_api ping || true
    fail "no Docker Engine answers at /var/run/docker.sock after a minute (asked $attempt times)"
}

# Ends the dockerd that `ensure_engine` started, if it did; containers go with it.
stop_started_engine() {
    [ -n "$started_engine" ] && kill -0 "$started_engine" 2>/dev/null || return 0
    kill "$started_engine"
    local attempt
    for attempt in $(seq 150); do
        kill -0 "$started_engine" 2>/dev/null || return 0
        sleep 0.2
    done
    printf 'dockerd (pid %s) does not end, %s looks\n' "$started_engine" "$attempt" >&2
}

# `free_port FIRST`: the first port from FIRST on that nobody listens on.
free_port() {
    "$system_python" - "$1" <<'PYTHON'
import socket, sys
for port in range(int(sys.argv[1]), int(sys.argv[1]) + 200):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            continue
    print(port)
    break
else:
    sys.exit("no free port from %s on" % sys.argv[1])
PYTHON
}
