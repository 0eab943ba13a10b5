#!/usr/bin/env bash
# Shows Moored at work on this Debian or Ubuntu machine: sets up what is missing, makes a small
# Git repository, starts the agent on it, and waits until what Git says is what runs.
#
#   ./demo.sh                start in the background, wait until all is ready, say what to try
#   ./demo.sh --foreground   the same setup, then the agent in the foreground with its log
#   ./demo.sh --status       what the agent says of the stack
#   ./demo.sh --stop         end the agent (containers go on: they need it only to change)
#   ./demo.sh --clean        the same, and remove the demo's containers, volumes and files
#
# Run it again at any time: it goes on from whatever is there. All it writes lies in .moored/
# and .venv/; the agent listens on port 8420, the demo's web page on 8421 (or the next free ones).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tests/support/machine.sh

mode=${1:---background}
case $mode in
--background | --foreground | --status | --stop | --clean) ;;
*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    [ "$mode" = --help ] || [ "$mode" = -h ] || fail "unknown option $mode"
    exit 0
    ;;
esac
become_root "$@"

project=moored-demo
demo=$state/demo
repository=$demo/repo
settings=$demo/agent.env
pid_file=$demo/agent.pid
agent_log=$demo/agent.log

agent_pid() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) && grep -qs bin/moored "/proc/$pid/cmdline" && printf '%s\n' "$pid"
}

# `ask METHOD PATH`: one call to the agent's API, its answer printed.
ask() {
    "$system_python" - "$1" "http://127.0.0.1:$HTTP_PORT$2" <<'PYTHON'
import os, sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[2], method=sys.argv[1], headers={"x-api-key": os.environ["API_SECRET"]})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    print(opener.open(request, timeout=60).read().decode().strip())
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code}: {error.read().decode().strip()}")
except OSError as error:
    sys.exit(str(error))
PYTHON
}

stop_agent() {
    local pid attempt
    pid=$(agent_pid) || {
        say "the agent does not run"
        return 0
    }
    kill "$pid"
    for attempt in $(seq 100); do
        agent_pid >/dev/null || {
            say "agent stopped (pid $pid)"
            rm -f "$pid_file"
            return 0
        }
        sleep 0.2
    done
    fail "the agent (pid $pid) still runs after $((attempt / 5)) s; its log: $agent_log"
}

load_settings() {
    set -a
    # shellcheck disable=SC1090
    . "$settings"
    set +a
}

if [ "$mode" != --background ] && [ "$mode" != --foreground ]; then
    find_python || fail "the demo was never set up here: run ./demo.sh"
    case $mode in
    --status)
        [ -e "$settings" ] || fail "the demo was never set up here: run ./demo.sh"
        load_settings
        ask GET "/v1/api/project/$project" | "$system_python" -m json.tool
        ;;
    --stop)
        stop_agent
        ;;
    --clean)
        stop_agent
        if engine_answers; then say "$(docker_api remove-project $project)"; fi
        rm -rf "$demo" "$state/data"
        if dockerd_pid=$(cat "$state/dockerd.pid" 2>/dev/null) &&
            [ "$(cat "/proc/$dockerd_pid/comm" 2>/dev/null)" = dockerd ]; then
            say "stopping the dockerd that the demo started (pid $dockerd_pid)"
            kill "$dockerd_pid"
        fi
        rm -f "$state/dockerd.pid"
        say "removed. What was installed stays: .venv/ and the packages."
        ;;
    esac
    exit 0
fi

prepare_state
mkdir -p "$demo"

step "Packages"
install_python
apt_install ca-certificates git openssh-client busybox-static

step "Docker Engine"
ensure_engine
# It goes on after this script, for the containers; `--clean` ends it.
[ -z "$started_engine" ] || printf '%s\n' "$started_engine" >"$state/dockerd.pid"
say "$(docker_api import-busybox moored/busybox:1)"

step "Moored"
make_venv requirements.lock

step "Settings"
if [ -e "$settings" ]; then
    say "kept: $settings"
else
    # The page's port is named in the repository; the others are the agent's own.
    HTTP_PORT=$(free_port 8420)
    WEB_PORT=$(free_port $((HTTP_PORT + 1)))
    METRICS_PORT=$(free_port 9120)
    API_SECRET=$("$system_python" -c 'import secrets; print(secrets.token_urlsafe(24))')
    (
        umask 077
        cat >"$settings" <<ENV
# The demo agent's settings; ./demo.sh reads them again at each start.
HTTP_PORT=$HTTP_PORT
METRICS_PORT=$METRICS_PORT
WEB_PORT=$WEB_PORT
API_SECRET=$API_SECRET
DATA_MOUNT_PATH='$state/data'
DATA_HOST_PATH='$state/data'
POLL_CONFIG='[{"url": "file://$repository", "reference": "main", "interval": 10, "watch": true}]'
ENV
    )
    say "written: $settings (the API key is in it; only root can read it)"
fi
load_settings

step "Demo repository"
git_demo() { git -C "$repository" -c user.name=Demo -c user.email=demo@example.invalid "$@"; }
if [ -d "$repository/.git" ] && git_demo rev-parse --quiet --verify HEAD >/dev/null; then
    say "kept: $repository, at \"$(git_demo log -1 --format=%s)\""
else
    rm -rf "$repository"
    mkdir -p "$repository/site"
    cat >"$repository/.doco-cd.yml" <<YAML
name: $project
compose_files: [compose.yaml]
YAML
    cat >"$repository/compose.yaml" <<YAML
services:
  web:
    image: moored/busybox:1
    command: [httpd, -f, -p, "80", -h, /site]
    ports: ["$WEB_PORT:80"]
    volumes:
      - ./site/index.html:/site/index.html:ro
      - clock:/site/clock:ro
    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"]
      interval: 2s
    depends_on: [clock]
    stop_grace_period: 1s
    restart: unless-stopped

  clock:
    image: moored/busybox:1
    command: [sh, -c, "while :; do date > /clock/now.txt; sleep 1; done"]
    volumes: ["clock:/clock"]
    stop_grace_period: 1s
    restart: unless-stopped

volumes:
  clock:
YAML
    cat >"$repository/site/index.html" <<'HTML'
<!doctype html>
<title>Moored demo</title>
<h1>Hello from Git</h1>
<p>The other service says it is: <iframe src="clock/now.txt" style="border: 0; height: 2.5em"></iframe></p>
HTML
    quietly "git init" git -c init.defaultBranch=main init "$repository"
    git_demo add .
    quietly "git commit" git_demo commit -m "A page and a clock"
    say "made: $repository"
fi

step "Agent"
mkdir -p "$DATA_MOUNT_PATH"
chmod 700 "$DATA_MOUNT_PATH"
if [ "$mode" = --foreground ]; then
    stop_agent
    say "moored run, in the foreground: http://127.0.0.1:$HTTP_PORT, page http://127.0.0.1:$WEB_PORT, Ctrl-C ends it"
    printf '%s\n' $$ >"$pid_file"
    exec "$root/.venv/bin/moored" run
fi

if pid=$(agent_pid); then
    say "runs already (pid $pid)"
else
    setsid "$root/.venv/bin/moored" run >>"$agent_log" 2>&1 </dev/null &
    pid=$!
    printf '%s\n' "$pid" >"$pid_file"
    say "started (pid $pid, log: $agent_log)"
fi

give_up() {
    tail -n 15 "$agent_log" | sed 's/^/    | /' >&2
    fail "$1 (the agent's log: $agent_log)"
}
for attempt in $(seq 120); do
    ! ask GET /v1/health >/dev/null 2>&1 || break
    kill -0 "$pid" 2>/dev/null || give_up "the agent ended while starting"
    [ "$attempt" -lt 120 ] || give_up "the agent is not healthy after a minute"
    sleep 0.5
done
say "healthy"

step "Stack"
docker_api wait-project $project 2 90 2>>"$log" || give_up "the stack is not ready: $(tail -n 1 "$log")"
say "$project: web and clock are ready"
page=$("$system_python" -c '
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(sys.argv[1], timeout=10).read().decode())' "http://127.0.0.1:$WEB_PORT/") ||
    give_up "the page does not answer"
say "the page says: $(printf '%s' "$page" | sed -n 's/.*<h1>\(.*\)<\/h1>.*/\1/p')"

sudo=${SUDO_USER:+sudo }
cat <<TRY

Ready. The page:     http://127.0.0.1:$WEB_PORT/
       The API:      http://127.0.0.1:$HTTP_PORT/v1/health  (its key is in $settings)
       The log:      $agent_log

Now change what Git says, and see it arrive a moment later:

    ${sudo}sed -i 's/Hello from Git/Hello again/' $repository/site/index.html
    ${sudo}git -C $repository -c user.name=me -c user.email=me@example.invalid commit -am "Greet again"
    python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:$WEB_PORT/").read().decode())'

Or break something behind Git's back, and see it repaired:

    ${sudo}docker rm -f $project-web-1

./demo.sh --status shows the stack, --stop ends the agent, --clean removes all of it.
TRY
