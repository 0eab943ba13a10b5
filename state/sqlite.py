"""The embedded database: SQLite in one file, in WAL mode, with one writer.

`synchronous=FULL` makes each commit reach the disk before it is acknowledged. Readers have
connections of their own, so a long listing never delays an intent. The driver is Python's
own, which blocks: each transaction is one trip to a thread, of which readers and the writer
have their own. The file is created with
mode 0600 (its `-wal` and `-shm` companions inherit it) because desired state holds secrets;
folders that do not exist yet are made with mode 0700, existing ones are left as they are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event

from state.database import Engines, T, Work
from state.errors import StoreUnavailable
from state.urgency import own_urgency

BUSY_TIMEOUT_MILLISECONDS = 5000
READERS = 2
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA journal_size_limit=16777216",
    "PRAGMA cache_size=-1000",
)


def connect(url: URL) -> Engines:
    """The engines for a `sqlite:///…` URL; creates folder and file."""
    path = Path(url.database or "")
    if not url.database or url.database == ":memory:":
        raise ValueError("the store needs a file: sqlite:////absolute/path/moored.db")
    if url.host:
        raise ValueError(f"a SQLite URL has no host, but {url.host!r} was found; write sqlite:////absolute/path")
    path = path.absolute()
    try:
        _create(path)
    except OSError as error:
        raise StoreUnavailable(f"the store {path} cannot be created: {error.strerror or error}") from error
    return SqliteEngines(path)


class SqliteEngines:
    """Connections to a file, and the threads that use them. Made in the thread of the event loop."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.turn = anyio.Lock()
        self._writer, self._reader = _writer(path), _reader(path)
        urgency = own_urgency()
        self._writing = ThreadPoolExecutor(1, "store-writer", initializer=urgency)
        self._reading = ThreadPoolExecutor(READERS, "store-reader", initializer=urgency)

    async def read(self, work: Work[T]) -> T:
        def run() -> T:
            with self._reader.connect() as connection:
                return work(connection)

        # A caller that gives up leaves the thread to its end: SQLite waits for locks, but not for ever.
        return await asyncio.get_running_loop().run_in_executor(self._reading, run)

    async def write(self, work: Work[T], committing: Callable[[], None]) -> T:
        def run() -> T:
            with self._writer.connect() as connection, connection.begin() as transaction:
                result = work(connection)
                committing()
                transaction.commit()
            return result

        return await asyncio.get_running_loop().run_in_executor(self._writing, run)

    async def close(self) -> None:
        def run() -> None:
            self._reader.dispose()
            self._writer.dispose()

        await anyio.to_thread.run_sync(run)
        for threads in (self._reading, self._writing):
            threads.shutdown(wait=False, cancel_futures=True)


def _create(path: Path) -> None:
    missing = []
    folder = path.parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def _writer(path: Path) -> Engine:
    engine = _engine(path, connections=1)

    # Python's driver must not open transactions on its own (see `isolation_level` below):
    # it would begin them as readers, which cannot always become writers.
    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _reader(path: Path) -> Engine:
    # Readers ask for little, and the system caches the file's pages anyway.
    return _engine(path, "PRAGMA query_only=ON", "PRAGMA cache_size=-200", connections=READERS, autocommit=True)


def _engine(path: Path, *pragmas: str, connections: int, autocommit: bool = False) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={
            "isolation_level": None,
            "timeout": BUSY_TIMEOUT_MILLISECONDS / 1000,
            "check_same_thread": False,
        },
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,
        **({"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True} if autocommit else {}),
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, *pragmas):
            cursor.execute(pragma)
        cursor.close()

    return engine
