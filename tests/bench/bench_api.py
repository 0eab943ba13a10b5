"""The API's rate and delay, beside the Engine's own list of containers in the same run.

    python -m tests.bench.bench_api [--projects 200] [--seconds 3] [--only list|get|intents]

Prints a Markdown table. Everything goes over loopback, with a bounded number of connections
that each send a request, read its answer and send the next. Rows:

- the list of all projects, against `GET /containers/json?all=1` of the Engine that runs them
  (one connection each, several connections each);
- one project, one run, and the health endpoint with 50 connections;
- intents (`POST poll/run?wait=false`) while a deployment of 30 services is being carried out:
  the answer says that they are on disk. One caller, and eight, that ask again at once; and 50
  connections that together ask 50 times a second, each delay counted from when it was due.

While a deployment fills the processors the asking side waits for one, too. It asks Linux to come
first, as the agent does, so that the delays are the agent's (run it as root).

The projects are one created container each, made directly at the Engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.priority import come_first
from tests.bench.bench_agent import services
from tests.support.agent import KEY, AgentProcess
from tests.support.docker_api import DockerApi
from tests.support.engine import shared_engine
from tests.support.names import unique_name
from tests.support.repository import LocalRepository, deploy_config

ANSWER_DEADLINE = 30.0
MANY = 50


@dataclass(frozen=True)
class Target:
    """What is asked: an address (a port of this machine, or a Unix socket) and a request."""

    address: int | str
    method: str
    path: str
    body: bytes = b""

    def bytes(self) -> bytes:
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\n"
        if self.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + self.body

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.address, int):
            return await asyncio.open_connection("127.0.0.1", self.address)
        return await asyncio.open_unix_connection(self.address)


@dataclass(frozen=True)
class Load:
    """What came of asking for a while."""

    latencies: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return sorted(self.latencies)[min(int(len(self.latencies) * share), len(self.latencies) - 1)] * 1000


async def answer(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if "transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    return int(head.split(" ", 2)[1])


async def ask(
    target: Target, connections: int, going: Callable[[], bool], expected: int, *, every: float = 0.0
) -> Load:
    """Keep `connections` busy while `going()`; with `every`, each asks once in so many seconds."""
    latencies: list[float] = []
    request = target.bytes()

    async def one(number: int) -> None:
        reader, writer = await target.connect()
        due = time.perf_counter() + every * number / connections
        try:
            while going():
                if every:
                    await asyncio.sleep(due - time.perf_counter())
                began = due if every else time.perf_counter()
                due += every
                writer.write(request)
                status = await asyncio.wait_for(answer(reader), ANSWER_DEADLINE)
                latencies.append(time.perf_counter() - began)
                assert status == expected, f"{target.method} {target.path}: expected {expected}, got {status}"
        finally:
            writer.close()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(connections):
            tasks.create_task(one(number))
    return Load(latencies, time.perf_counter() - began)


def load(target: Target, connections: int, seconds: float, expected: int = 200) -> Load:
    end = time.perf_counter() + seconds
    return asyncio.run(ask(target, connections, lambda: time.perf_counter() < end, expected))


def row(what: str, ours: Load, peer: Load | None = None, goal: str = "") -> None:
    theirs = f"{peer.rate:.0f}/s" if peer else ""
    ratio = f"{ours.rate / peer.rate:.1f}×" if peer else ""
    figures = f"{ours.rate:.0f}/s | {ours.quantile(0.5):.1f} ms | {ours.quantile(0.99):.1f} ms"
    print(f"| {what} | {figures} | {theirs} | {ratio} | {goal} |", flush=True)


@contextmanager
def created_projects(engine: DockerApi, count: int) -> Iterator[list[str]]:
    """Projects of one container that was created and never started."""
    prefix = unique_name("api")
    names = [f"{prefix}-{number}" for number in range(count)]
    try:
        for name in names:
            labels = {
                "com.docker.compose.project": name,
                "com.docker.compose.service": "web",
                "com.docker.compose.container-number": "1",
                "com.docker.compose.oneoff": "False",
                "com.docker.compose.config-hash": "0" * 64,
                "com.docker.compose.project.config_files": "/srv/compose.yaml",
            }
            body = {"Image": "moored/busybox:1", "Cmd": ["sleep", "1"], "Labels": labels}
            engine.call("POST", "/containers/create", {"name": f"{name}-web-1"}, body)
        yield names
    finally:
        for name in names:
            engine.remove_project(name)


def lists(agent: AgentProcess, engine: DockerApi, socket: str, count: int, seconds: float) -> None:
    with created_projects(engine, count) as names:
        known = set(names)

        def all_known() -> bool:
            found = agent.get("/v1/api/projects?all=true")
            return found.status == 200 and known <= {project["Name"] for project in found.content}

        agent.until(all_known, 60, "the agent knows all projects")
        ours = Target(agent.port, "GET", "/v1/api/projects?all=true")
        theirs = Target(socket, "GET", "/v1.41/containers/json?all=1")
        for connections in (1, 8):
            peer = load(theirs, connections, seconds)
            row(f"list of {count} projects, {connections} at once", load(ours, connections, seconds), peer, "≥ 20×")
        one = Target(agent.port, "GET", f"/v1/api/project/{names[0]}")
        row(f"one project of {count}, {MANY} at once", load(one, MANY, seconds))


def gets(agent: AgentProcess, folder: Path, seconds: float) -> None:
    repository = LocalRepository(folder / unique_name("api"))
    repository.commit({".doco-cd.yml": deploy_config(repository.path.name), "compose.yaml": "services: {}\n"})
    job = agent.poll(repository.url).job_id
    for what, path in (("one run", f"/v1/api/run/{job}"), ("health", "/v1/health")):
        target = Target(agent.port, "GET", path)
        row(f"{what}, {MANY} at once", load(target, MANY, seconds))


def intents(agent: AgentProcess, engine: DockerApi, folder: Path) -> None:
    """Intents for a repository that is quickly looked at, while another one is deployed."""
    name = unique_name("busy")
    busy, quick = LocalRepository(folder / name), LocalRepository(folder / unique_name("quick"))
    busy.commit({".doco-cd.yml": deploy_config(name), "compose.yaml": services(30)})
    quick.commit({".doco-cd.yml": deploy_config(quick.path.name), "compose.yaml": "services: {}\n"})
    body = json.dumps([{"url": quick.url}]).encode()
    target = Target(agent.port, "POST", "/v1/api/poll/run?wait=false", body)
    try:
        for connections, every in ((1, 0.0), (8, 0.0), (MANY, 1.0)):
            job = agent.poll(busy.url, wait=False).job_id
            looked = [0.0, True]

            def going(job: str = job, looked: list[float] = looked) -> bool:
                if looked[1] and time.perf_counter() - looked[0] > 1:
                    looked[:] = time.perf_counter(), agent.run(job)["status"] in ("accepted", "running")
                return bool(looked[1])

            row(
                f"intents while 30 services are deployed, {connections} {'paced' if every else 'at once'}",
                asyncio.run(ask(target, connections, going, 202, every=every)),
                goal="p99 < 25 ms",
            )
            agent.delete(f"/v1/api/project/{name}?timeout=0&images=false")
    finally:
        engine.remove_project(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="list, get or intents")
    options = parser.parse_args()
    come_first()
    engine = shared_engine()
    print("| what | rate | p50 | p99 | Engine | ratio | target |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="moored-bench-") as temporary:
        folder = Path(temporary)
        agent = AgentProcess(folder / "agent", {"LOG_LEVEL": "warn"}, own_session=True)
        agent.start()
        try:
            if options.only in ("", "list"):
                lists(agent, engine, engine.socket_path, options.projects, options.seconds)
            if options.only in ("", "get"):
                gets(agent, folder, options.seconds)
            if options.only in ("", "intents"):
                intents(agent, engine, folder)
        finally:
            agent.kill()


if __name__ == "__main__":
    main()
