"""How long the store takes: accepting intents, recording runs, reading them, listing stacks.

    python -m tests.bench.bench_store [URL]

Without a URL: SQLite in a temporary folder, and PostgreSQL where its server programs are
installed. Prints one JSON line a measurement: milliseconds p50 and p99 of a call, and calls
a second where several callers share the store.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from time import perf_counter

import anyio

from state.model import Change, Overrides, Reason, RunAction, RunStatus, StackKey
from state.store import Store, open_store
from tests.support.postgres import PostgresMissing, server
from tests.support.values import intent, run, stack

DESIRED = {
    "services": {
        f"service-{number}": {"image": "registry.example/acme/shop:1.2.3", "environment": {"A": "x" * 40}, "ports": []}
        for number in range(20)
    }
}
REASON = Reason("ImageChanged", "the image differs", (Change("services.web.image", "nginx:1.27", "nginx:1.28"),))


async def measure(name: str, call: Callable[[], Awaitable[object]], times: int, callers: int = 1) -> None:
    latencies: list[float] = []

    async def caller() -> None:
        for _ in range(times // callers):
            begin = perf_counter()
            await call()
            latencies.append(perf_counter() - begin)

    begin = perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(caller)
    elapsed = perf_counter() - begin
    latencies.sort()
    print(
        json.dumps(
            {
                "measurement": name,
                "callers": callers,
                "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
                "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
                "per_second": round(len(latencies) / elapsed),
            }
        )
    )


async def bench(kind: str, url: str) -> None:
    async with open_store(url) as store:
        await bench_store(kind, store)


async def bench_store(kind: str, store: Store) -> None:
    async def accept() -> None:
        asked = intent()
        await store.accept(asked, run(asked.id))

    await measure(f"{kind} accept", accept, 300)
    await measure(f"{kind} accept", accept, 600, callers=20)
    await store.put_run(run("job"))
    actions = [RunAction(str(n), "create", f"web-{n}", "shop", "web", (REASON,), "running") for n in range(20)]
    await measure(f"{kind} put_run, 20 actions", lambda: store.put_run(run("job", actions=tuple(actions))), 200)
    await measure(f"{kind} put_run_actions, 1", lambda: store.put_run_actions("job", actions[:1]), 200)
    await measure(f"{kind} get_run, 20 actions", lambda: store.get_run("job"), 200)
    await measure(f"{kind} list_runs of 900", lambda: store.list_runs(limit=50), 100)
    await measure(f"{kind} finish", lambda: store.finish(run("job", status=RunStatus.SUCCEEDED)), 200)
    stacks = [stack(f"stack-{number:03}", desired=DESIRED) for number in range(300)]
    await measure(f"{kind} apply_stacks, 300 new", lambda: store.apply_stacks("s", "r", stacks), 1)
    await measure(f"{kind} apply_stacks, 300 unchanged", lambda: store.apply_stacks("s", "r", stacks), 5)
    await measure(f"{kind} list_stacks of 300", store.list_stacks, 20)
    await measure(f"{kind} list_stacks of 300 without desired", lambda: store.list_stacks(desired=False), 20)
    key = StackKey("default", "stack-007")
    flip = iter(range(10**6))
    await measure(
        f"{kind} set_overrides", lambda: store.set_overrides(key, Overrides(replicas={"web": next(flip)})), 200
    )
    await measure(f"{kind} update_stack, unchanged", lambda: store.update_stack(key, observed_generation=0), 200)


def main() -> None:
    if len(sys.argv) > 1:
        anyio.run(bench, sys.argv[1].partition(":")[0], sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(bench, "sqlite", f"sqlite:///{folder}/moored.db")
    try:
        with server("fsync=on") as postgres:
            anyio.run(bench, "postgresql", postgres.new_database())
    except PostgresMissing as error:
        print(f"PostgreSQL left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
