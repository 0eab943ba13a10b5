"""The main job against its peers: Docker Compose, and the bare Engine, in the same run.

    python -m tests.bench.bench_agent [--rounds 3] [--sizes 1,10,50] [--stacks 300]

Prints a Markdown table of ratios (median of several rounds); absolute times of one machine
say little. Rows:

- first deployment of N services, in two ways that compare like with like: from a poll call until
  all containers are started, against `docker compose up -d`, which returns then; and until the
  call that waits is answered (the services are ready), against `docker compose up -d --wait`;
- nothing to do: the same call on an unchanged repository, against `docker compose up -d` again;
- one service of 50 changed, in the usual order and with `update_config.order: start-first`, which
  Compose knows not (also against the bare Engine's own create, stop, rename, start and
  remove), thirty that are independent, and twenty in a chain of health checks;
- heal: from `docker rm -f` to running again, against the Engine's own create and start;
- own time: what a deployment of 50 takes beside the Engine's calls (CPU seconds of the agent);
- an unchanged poll: CPU of the agent and wall time, Engine calls made;
- idle: CPU and memory with many stacks known.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.support.agent import AgentProcess
from tests.support.compose_oracle import Compose
from tests.support.docker_api import DockerApi, EngineError
from tests.support.engine import PrivateEngine, shared_engine
from tests.support.names import unique_name
from tests.support.repository import LocalRepository, compose, deploy_config, service

HERTZ = 100


@dataclass(frozen=True)
class Row:
    what: str
    ours: float
    peer: float | None
    unit: str = "s"
    target: str = ""

    def __str__(self) -> str:
        ratio = f"{self.ours / self.peer:.2f}×" if self.peer else ""
        peer = f"{self.peer:.3f} {self.unit}" if self.peer is not None else ""
        return f"| {self.what} | {self.ours:.3f} {self.unit} | {peer} | {ratio} | {self.target} |"


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu(agent: AgentProcess, *, children: bool = True) -> float:
    """CPU seconds the agent has used."""
    assert agent.process is not None
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[index]) for index in ((11, 12, 13, 14) if children else (11, 12))) / HERTZ


def memory(agent: AgentProcess) -> float:
    """Resident megabytes."""
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


START_FIRST = {"deploy": "{update_config: {order: start-first}}"}


def services(count: int, **changed: str) -> str:
    return compose(*(service(f"s{index}", **(changed if index == 0 else {})) for index in range(count)))


def chain(count: int) -> str:
    """Each waits until the one before is healthy."""
    text = []
    for index in range(count):
        more = {"healthcheck": "{test: ['CMD', 'true'], interval: 1s, start_period: 0s}"}
        if index:
            more["depends_on"] = f"{{c{index - 1}: {{condition: service_healthy}}}}"
        text.append(service(f"c{index}", **more))
    return compose(*text)


class Bench:
    """One agent, one Engine, the peers."""

    def __init__(self, folder: Path, agent: AgentProcess, engine: DockerApi, peer: Compose, rounds: int) -> None:
        self.folder = folder
        self.agent = agent
        self.engine = engine
        self.peer = peer
        self.rounds = rounds

    @contextmanager
    def repository(self) -> Iterator[tuple[LocalRepository, str]]:
        name = unique_name("bench")
        try:
            yield LocalRepository(self.folder / name), name
        finally:
            self.agent.delete(f"/v1/api/project/{name}?timeout=0&images=false")
            self.clean(name)

    @contextmanager
    def peer_project(self, text: str) -> Iterator[tuple[Path, str]]:
        name = unique_name("peer")
        folder = self.folder / name
        folder.mkdir()
        (folder / "compose.yaml").write_text(text)
        try:
            yield folder, name
        finally:
            self.clean(name)

    def clean(self, project: str) -> None:
        try:
            self.engine.remove_project(project)
        except EngineError as error:
            # Engine 20.10 now and then keeps an endpoint of a container that it removed among many.
            print(f"left behind: {error}", file=sys.stderr)

    def deploy(self, repository: LocalRepository, name: str, text: str) -> tuple[float, float]:
        """Seconds until all containers of the text were started, and until the call was answered.

        When a container was started, the Engine tells itself."""
        repository.commit({".doco-cd.yml": deploy_config(name), "compose.yaml": text})
        began = time.time()
        answer = self.agent.poll(repository.url)
        answered = time.time() - began
        assert answer.status == 200, answer
        return self._started(name, began), answered

    def _started(self, project: str, began: float) -> float:
        """Seconds from `began` until the last container of a project was started."""
        latest = began
        for item in self.engine.containers(f"com.docker.compose.project={project}"):
            text = self.engine.inspect(item["Id"])["State"]["StartedAt"]
            latest = max(latest, datetime.fromisoformat(f"{text[:26].rstrip('Z')}+00:00").timestamp())
        return latest - began

    def up(self, folder: Path, name: str, *options: str) -> float:
        return seconds(lambda: self.peer.run("-p", name, "up", "-d", *options, cwd=folder))

    def against_compose(self, what: str, first: str, second: str, target: str) -> list[Row]:
        """`first` deployed, then `second` (equal: nothing to do), by us and by Compose."""
        ours: list[tuple[tuple[float, float], ...]] = []
        theirs: list[tuple[tuple[float, float], ...]] = []
        for _ in range(self.rounds):
            with self.repository() as (repository, name):
                ours.append(tuple(self.deploy(repository, name, text) for text in (first, second)))
            times = []
            for options in ((), ("--wait",)):
                with self.peer_project(first) as (folder, name):
                    one = self.up(folder, name, *options)
                    (folder / "compose.yaml").write_text(second)
                    times.append((one, self.up(folder, name, *options)))
            theirs.append(tuple(zip(*times, strict=True)))
        rows = []
        for index, label in enumerate(("first deployment", "again" if first == second else "one changed")):
            for way, until in enumerate(("until started", "until ready")):
                if label == "again":
                    if way == 0:
                        continue
                    until = "answered"
                rows.append(
                    Row(
                        f"{what}: {label}, {until}",
                        statistics.median(times[index][way] for times in ours),
                        statistics.median(times[index][0 if label == "again" else way] for times in theirs),
                        target="" if label == "again" else target,
                    )
                )
        return rows

    @contextmanager
    def bare(self) -> Iterator[tuple[str, dict[str, object]]]:
        """A network, and the request for a container in it such as we deploy: the default bridge
        would cost less."""
        network = unique_name("bare")
        self.engine.call("POST", "/networks/create", {"CheckDuplicate": True}, {"Name": network})
        try:
            yield (
                network,
                {
                    "Image": "moored/busybox:1",
                    "Cmd": ["sleep", "3600"],
                    "HostConfig": {"Init": True, "NetworkMode": network},
                },
            )
        finally:
            self.engine.call("DELETE", f"/networks/{network}")

    def bare_change(self) -> float:
        """Seconds the Engine itself takes to replace a running container, median."""
        call, found = self.engine.call, []
        with self.bare() as (network, body):
            old = call("POST", "/containers/create", {"name": f"{network}-1"}, body)["Id"]
            call("POST", f"/containers/{old}/start")
            for _ in range(max(5, self.rounds)):
                began = time.perf_counter()
                new = call("POST", "/containers/create", {"name": f"{network}-new"}, body)["Id"]
                call("POST", f"/containers/{old}/stop")
                call("POST", f"/containers/{old}/rename", {"name": f"{network}-old"})
                call("POST", f"/containers/{new}/rename", {"name": f"{network}-1"})
                call("POST", f"/containers/{new}/start")
                call("DELETE", f"/containers/{old}", {"force": 1})
                found.append(time.perf_counter() - began)
                old = new
            call("DELETE", f"/containers/{old}", {"force": 1})
        return statistics.median(found)

    def heal(self) -> Row:
        ours, bare = [], []
        with self.repository() as (repository, name):
            for number in range(max(5, self.rounds)):
                # A new generation each time: the same repair over and over would count as a fight.
                self.deploy(repository, name, compose(service("web", hostname=f"web{number}")))
                (found,) = self.engine.containers(f"com.docker.compose.project={name}")
                self.engine.call("DELETE", f"/containers/{found['Id']}", {"force": 1})
                ours.append(seconds(lambda: self._until_running(name)))
        with self.bare() as (_, body):
            for _ in range(max(5, self.rounds)):
                name = unique_name("bare")

                def create(name: str = name) -> None:
                    made = self.engine.call("POST", "/containers/create", {"name": name}, body)
                    self.engine.call("POST", f"/containers/{made['Id']}/start")

                bare.append(seconds(create))
                self.engine.call("DELETE", f"/containers/{name}", {"force": 1})
        return Row("heal after `docker rm -f`", statistics.median(ours), statistics.median(bare), target="≤ 1.3×")

    def _until_running(self, project: str) -> None:
        while not any(
            item["State"] == "running" for item in self.engine.containers(f"com.docker.compose.project={project}")
        ):
            time.sleep(0.005)

    def own_time(self) -> Row:
        with self.repository() as (repository, name):
            before = cpu(self.agent)
            _, wall = self.deploy(repository, name, services(50))
            return Row("CPU of the agent in a deployment of 50, against its wall time", cpu(self.agent) - before, wall)

    def unchanged(self) -> list[Row]:
        with self.repository() as (repository, name):
            self.deploy(repository, name, services(10))
            calls = self.agent.metric("moored_engine_call_seconds_count")
            before, count = cpu(self.agent), 20
            walls = [seconds(lambda: self.agent.poll(repository.url)) for _ in range(count)]
            used = (cpu(self.agent) - before) / count
            listed = [seconds(lambda: _ls_remote(repository)) for _ in range(count)]
            made = (self.agent.metric("moored_engine_call_seconds_count") - calls) / count
        return [
            Row(
                "an unchanged explicit poll, against `git ls-remote`",
                statistics.median(walls),
                statistics.median(listed),
            ),
            Row("unchanged, asked explicitly: CPU, git included", used * 1000, None, "ms"),
            Row("unchanged, asked explicitly: Engine calls", made, None, ""),
        ]


def _ls_remote(repository: LocalRepository) -> None:
    subprocess.run(["git", "ls-remote", repository.url, "refs/heads/main"], capture_output=True, check=True)


def idle(folder: Path, stacks: int) -> list[Row]:
    """An agent that knows many stacks of one repository, each one stopped container. On an Engine
    of its own: what others do on a shared one is seen, too, and takes its time."""
    name = unique_name("idle")
    repository = LocalRepository(folder / name)
    documents = "---\n".join(f"name: {name}-{index}\ncompose_files: [compose.yaml]\n" for index in range(stacks))
    text = "services:\n  job:\n    image: moored/busybox:1\n    command: 'true'\n    network_mode: none\n"
    repository.commit({".doco-cd.yml": documents, "compose.yaml": text})
    settings = {"MAX_CONCURRENT_DEPLOYMENTS": "8", "LOG_LEVEL": "info"}
    with PrivateEngine() as engine:
        agent = AgentProcess(folder / f"{name}-agent", {**settings, "DOCKER_HOST": engine.url})
        agent.start(POLL_CONFIG=f"- url: {repository.url}\n  interval: 10\n  watch: false\n")
        try:
            first = seconds(lambda: agent.until(lambda: _ready(agent) == stacks, 1200, f"{stacks} stacks are ready"))
            time.sleep(12)
            polls, calls = agent.metric("doco_cd_polls_total"), _calls(agent)
            # Asking for the metrics of 300 stacks costs more than a minute of polls.
            before, own, began = cpu(agent), cpu(agent, children=False), time.monotonic()
            time.sleep(60)
            used = (cpu(agent) - before) / (time.monotonic() - began)
            own, polls = cpu(agent, children=False) - own, agent.metric("doco_cd_polls_total") - polls
            calls = _calls(agent) - calls
            return [
                Row(
                    "an unchanged poll of an idle agent: CPU beside git, pings included",
                    own / polls * 1000,
                    None,
                    "ms",
                    "< 10 ms",
                ),
                Row("an unchanged poll of an idle agent: Engine calls", calls / polls, None, "", "0"),
                Row(f"{stacks} stacks of one repository: first deployment of all", first, None),
                Row(f"{stacks} stacks idle, polled every 10 s: CPU of a core", used * 100, None, "%", "< 1 %"),
                Row(f"{stacks} stacks known: memory", memory(agent), None, "MB", "< 120 MB"),
            ]
        finally:
            agent.kill()


def _calls(agent: AgentProcess) -> float:
    """Engine calls so far, less the pings that a timer makes."""
    return agent.metric("moored_engine_call_seconds_count", without='operation="ping"')


def starts(folder: Path, rounds: int) -> list[Row]:
    """From nothing to healthy, and what importing takes of it."""
    agents = [AgentProcess(folder / f"start-{number}", {"LOG_LEVEL": "info"}) for number in range(max(3, rounds))]
    walls = []
    for agent in agents:
        walls.append(seconds(agent.start))
        agent.kill()
    # Taken inside, so that it is neither Python's own start nor its end; as the command line does it.
    code = """
import gc, time
gc.disable()
began = time.perf_counter()
import reconciler.cli, reconciler.agent, api.app, state.sql, state.sqlite
print(time.perf_counter() - began)
"""
    command = [sys.executable, "-c", code]
    imports = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(max(5, rounds))]
    return [
        Row("start to healthy", statistics.median(walls), None, target="< 1.5 s"),
        Row("importing everything", statistics.median(imports), None, target="≤ 0.7 s"),
    ]


def _ready(agent: AgentProcess) -> int:
    answer = agent.get("/v1/api/status")
    if answer.status != 200:
        return 0
    return sum(
        any(c["type"] == "Ready" and c["status"] for c in stack["conditions"]) for stack in answer.content["stacks"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="1,10,50")
    parser.add_argument("--stacks", type=int, default=300)
    parser.add_argument(
        "--only", default="", help="start, deploy, changed, independent, chain, heal, own, unchanged or idle"
    )
    options = parser.parse_args()
    engine = shared_engine()
    print("| what | Moored | peer | ratio | target |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="moored-bench-") as temporary:
        folder = Path(temporary)
        agent = AgentProcess(folder / "agent", {"LOG_LEVEL": "info"}, own_session=True)
        agent.start()
        bench = Bench(folder, agent, engine, Compose(), options.rounds)
        wanted: Callable[[str], bool] = lambda name: options.only in ("", name)  # noqa: E731 - read once, below
        try:
            if wanted("start"):
                show(starts(folder, options.rounds))
            if wanted("deploy"):
                for size in map(int, options.sizes.split(",")):
                    text = services(size)
                    show(bench.against_compose(f"{size} services", text, text, "≤ 1.0×"))
            if wanted("changed"):
                for what, order in (("50 services", {}), ("50 services, start-first", START_FIRST)):
                    first, second = services(50, **order), services(50, hostname="other", **order)
                    changed = bench.against_compose(what, first, second, "≤ 0.7×")[2:]
                    show(changed)
                    bare = bench.bare_change()
                    show([Row("the same, until started, against the bare Engine's own calls", changed[0].ours, bare)])
            if wanted("independent"):
                show(bench.against_compose("30 independent services", services(30), services(30), "≤ 1.0×")[:2])
            if wanted("chain"):
                show(bench.against_compose("20 in a chain of service_healthy", chain(20), chain(20), "≤ 0.8×")[:2])
            if wanted("heal"):
                show([bench.heal()])
            if wanted("own"):
                show([bench.own_time()])
            if wanted("unchanged"):
                show(bench.unchanged())
        finally:
            agent.kill()
        if wanted("idle") and options.stacks:
            show(idle(folder, options.stacks))


def show(rows: list[Row]) -> None:
    for row in rows:
        print(row, flush=True)


if __name__ == "__main__":
    main()
