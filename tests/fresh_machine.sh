#!/usr/bin/env bash
# Tries the README on a Debian with nothing in it: a container that stands for a fresh machine,
# with a clone of the last commit, a Docker Engine of its own, and none of this machine's tools.
#
#   tests/fresh_machine.sh [bookworm|trixie] [demo|test|COMMAND…]     (bookworm, both)
#
# Not part of the test suite: it takes minutes and installs everything each time. Needs root,
# `docker`, `debootstrap`, and the network that apt and pip need. What the machine sets for
# those two (proxies, certificates, apt and pip configuration) is handed in.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
suite=${1:-bookworm}
shift || true
image=moored-test/fresh:$suite
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/moored-fresh-XXXXXX")
name=$(basename "$scratch" | tr '[:upper:]' '[:lower:]')
trap 'docker rm -f -v "$name" >/dev/null 2>&1 || true; rm -rf "$scratch"' EXIT

if ! docker image inspect "$image" >/dev/null 2>&1; then
    echo "==> making $image (once, a minute)"
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
    grep -q '^ID=debian' /etc/os-release || mirror=
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$scratch/root" ${mirror:+"$mirror"} >"$scratch/log" ||
        { tail "$scratch/log"; exit 1; }
    tar -C "$scratch/root" -c . | docker import - "$image" >/dev/null
    rm -rf "$scratch/root"
fi

git clone --quiet --no-hardlinks . "$scratch/moored"
mounts=(-v "$scratch/moored:/home/moored")
# Copies, since packages write there.
cp -RL /etc/ssl/certs "$scratch/certs"
rm -f "$scratch"/certs/ssl-cert-snakeoil.pem
cp -RL /etc/apt/apt.conf.d "$scratch/apt"
mounts+=(-v "$scratch/certs:/etc/ssl/certs" -v "$scratch/apt:/etc/apt/apt.conf.d")
[ ! -e /etc/pip.conf ] || mounts+=(-v /etc/pip.conf:/etc/pip.conf:ro)
corpus=$(cd .. && pwd)/shared
[ ! -d "$corpus" ] || mounts+=(-v "$corpus:/home/shared:ro")
settings=(-e CI -e MOORED_TEST_NEWER_ENGINE)
while IFS= read -r variable; do settings+=(-e "$variable"); done < <(
    env | sed -n -E 's/^(PIP_CERT|PIP_INDEX_URL|PIP_DEFAULT_TIMEOUT|SSL_CERT_FILE|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)=.*/\1/p'
)
capabilities=()
for capability in NET_ADMIN SYS_ADMIN SYS_PTRACE DAC_READ_SEARCH IPC_LOCK SYS_NICE LINUX_IMMUTABLE NET_BROADCAST LEASE \
    SYSLOG MAC_ADMIN AUDIT_CONTROL SYS_MODULE SYS_RAWIO SYS_BOOT SYS_TIME SYS_TTY_CONFIG IPC_OWNER; do
    capabilities+=(--cap-add "$capability")
done

# Twice each: the second time everything is there already.
demo='./demo.sh && ./demo.sh && ./demo.sh --status >/dev/null && ./demo.sh --stop && ./demo.sh && ./demo.sh --clean'
case ${1:-} in
'') command="$demo && ./test.sh" ;;
demo) command=$demo ;;
test) command=./test.sh ;;
*) command=$* ;;
esac
echo "==> $suite: $command"
started=$(date +%s)
status=0
docker run --name "$name" --init "${capabilities[@]}" \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
    --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:rw --device-cgroup-rule 'a *:* rwm' \
    --sysctl net.ipv6.conf.all.disable_ipv6=0 --sysctl net.ipv6.conf.default.disable_ipv6=0 \
    -v /var/lib/docker "${mounts[@]}" "${settings[@]}" -w /home/moored \
    "$image" bash -c "$command" </dev/null || status=$?
echo "==> $suite: exit status $status after $(($(date +%s) - started)) s"
exit "$status"
