"""What the store promises when things break: power, disk, locks, servers, impatient callers."""

from __future__ import annotations

import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

import state.postgres
import state.sqlite
from state.errors import StoreUnavailable
from state.model import RunStatus
from state.store import Store, open_store
from tests.support.postgres import PostgresServer, server
from tests.support.values import intent, run, stack

ROOT = Path(__file__).parents[2]

WRITER = """
import sys, anyio
from state.model import RunAction, RunStatus
from state.store import open_store
from tests.support.values import intent, run

async def main():
    async with open_store(sys.argv[1]) as store:
        async def write():
            while True:
                asked = intent()
                await store.accept(asked, run(asked.id))
                print("accepted", asked.id, flush=True)
                await store.put_run_actions(asked.id, [RunAction("a", "create", "a")])
                await store.finish(run(asked.id, status=RunStatus.SUCCEEDED))
                print("finished", asked.id, flush=True)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(write)
anyio.run(main)
"""


def assert_intact(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with server() as running:
        yield running


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_what_was_acknowledged_survives_being_killed_at_any_moment(
    database: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    url = f"sqlite:///{tmp_path}/moored.db" if database == "sqlite" else postgres.new_database()
    said: list[list[str]] = []
    for round_number in range(4):
        dice = random.Random(round_number)
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert child.stdout is not None
        said += [child.stdout.readline().split() for _ in range(dice.randrange(1, 60))]
        child.send_signal(signal.SIGKILL)
        said += [line.split() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        assert child.wait(timeout=30) == -signal.SIGKILL
    accepted = [job_id for what, job_id in said if what == "accepted"]
    assert len(accepted) > 4
    async with open_store(url) as store:
        for job_id in accepted:
            assert await store.get_intent(job_id) is not None and await store.get_run(job_id) is not None
        for what, job_id in said:
            if what == "finished":
                found = await store.get_run(job_id)
                assert found is not None and found.status is RunStatus.SUCCEEDED
        open_ones = {found.id for found in await store.open_intents()}
        assert open_ones == {found.job_id for found in await store.unfinished_runs()}, "written together or not at all"
    if database == "sqlite":
        assert_intact(tmp_path / "moored.db")


@contextmanager
def file_size_limit(folder: Path) -> Iterator[None]:
    """No file may grow (writes beyond fail with EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(file.stat().st_size for file in folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(largest, 4096), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def filled_up(folder: Path) -> Iterator[None]:
    """Not a byte is left on the file system of `folder` (writes fail with ENOSPC)."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "moored-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


async def write_all_kinds(store: Store) -> None:
    asked = intent()
    await store.accept(asked, run(asked.id))
    await store.finish(run(asked.id, status=RunStatus.SUCCEEDED))
    await store.apply_stacks("s", asked.id, [stack(desired_hash=asked.id, desired={"big": "x" * 20000})])
    await store.check()


async def refuses_to_write(store: Store) -> None:
    asked = intent()
    before = await store.list_runs()
    with pytest.raises(StoreUnavailable, match=r"full|I/O"):
        await store.accept(asked, run(asked.id))
    with pytest.raises(StoreUnavailable):
        await store.apply_stacks("s", "r", [stack("other", desired={"big": "x" * 20000})])
    store._database.last_write = float("-inf")  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable):
        await store.check()
    assert await store.list_runs() == before, "reading goes on"
    assert await store.get_intent(asked.id) is None, "nothing is half done"


async def test_a_full_disk_is_reported_and_recovered_from(small_disk: Path) -> None:
    async with open_store(f"sqlite:///{small_disk}/moored.db") as store:
        await write_all_kinds(store)
        with filled_up(small_disk):
            # What is left of the write-ahead log's last block may take some more.
            with pytest.raises(StoreUnavailable):
                for _ in range(50):
                    await write_all_kinds(store)
            await refuses_to_write(store)
        await write_all_kinds(store)
    assert_intact(small_disk / "moored.db")


async def test_a_file_that_may_not_grow_is_reported_and_recovered_from(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/moored.db") as store:
        await write_all_kinds(store)
        with file_size_limit(tmp_path):
            await refuses_to_write(store)
        await write_all_kinds(store)


async def test_a_lock_of_another_process_is_reported_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state.sqlite, "BUSY_TIMEOUT_MILLISECONDS", 50)
    async with open_store(f"sqlite:///{tmp_path}/moored.db") as store:
        await write_all_kinds(store)
        other = sqlite3.connect(tmp_path / "moored.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.put_run(run("job"))
        assert len(await store.list_runs()) == 1, "reading goes on"
        other.execute("ROLLBACK")
        other.close()
        await store.put_run(run("job"))


async def test_a_server_that_goes_and_returns(postgres: PostgresServer) -> None:
    async with open_store(postgres.new_database()) as store:
        asked = intent()
        await store.accept(asked, run(asked.id))
        postgres.stop()
        try:
            with anyio.fail_after(60):
                for attempt in (store.check, store.list_runs, lambda: store.put_run(run("lost"))):
                    store._database.last_write = float("-inf")  # type: ignore[attr-defined]
                    with pytest.raises(StoreUnavailable) as caught:
                        await attempt()
                    assert "INSERT" not in str(caught.value)
        finally:
            postgres.start()
        await write_all_kinds(store)
        assert await store.get_intent(asked.id) == asked
        assert await store.get_run("lost") is None


async def test_a_server_that_was_restarted_unnoticed_costs_no_error(postgres: PostgresServer) -> None:
    async with open_store(postgres.new_database()) as store:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(store.put_run, run())
        postgres.stop()
        postgres.start()
        for _ in range(6):
            await store.put_run(run())
            assert await store.list_runs()


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state.postgres, "CONNECT_DEADLINE", 0.2)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        port = listener.extra_attributes[anyio.abc.SocketAttribute.local_port]()

        async def say_nothing(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await anyio.sleep_forever()

        tasks.start_soon(listener.serve, say_nothing)
        with anyio.fail_after(60), pytest.raises(StoreUnavailable) as caught:
            async with open_store(f"postgresql://moored:hunter2@127.0.0.1:{port}/moored"):
                pass
        assert "hunter2" not in str(caught.value) and str(port) in str(caught.value)
        tasks.cancel_scope.cancel()


async def test_a_server_that_refuses_connections_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        async with open_store(f"postgresql:///moored?host={tmp_path}"):
            pass


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_impatient_callers_leave_all_or_nothing(database: str, tmp_path: Path, postgres: PostgresServer) -> None:
    url = f"sqlite:///{tmp_path}/moored.db" if database == "sqlite" else postgres.new_database()
    dice = random.Random(1)
    asked_for = []
    async with open_store(url) as store:

        async def ask(patience: float) -> None:
            asked = intent()
            asked_for.append(asked.id)
            with anyio.move_on_after(patience):
                await store.accept(asked, run(asked.id))
                await store.list_runs()

        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(ask, dice.uniform(0, 0.05))
        for job_id in asked_for:
            assert (await store.get_intent(job_id) is None) == (await store.get_run(job_id) is None)
        with anyio.fail_after(60):
            await write_all_kinds(store)
            assert await store.list_stacks()
