"""A real PostgreSQL server for tests: made in a temporary folder, on a unix socket only.

`server` is a context manager that a session fixture wraps. The server runs as the user
`postgres` when the tests run as root, because PostgreSQL refuses root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4


class PostgresMissing(Exception):
    """There is no PostgreSQL server program on this machine."""


def find_binaries() -> Path:
    """The folder with `initdb` and `pg_ctl`, the newest version first."""
    found = shutil.which("pg_ctl")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
    )
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise PostgresMissing("install PostgreSQL's server programs, for example: apt-get install postgresql")


@dataclass
class PostgresServer:
    """A running server; `stop` and `start` play an outage."""

    binaries: Path
    folder: Path
    settings: tuple[str, ...] = ()
    _user: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if os.geteuid() == 0:
            self._user = "postgres"
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "moored", "-A", "trust", "--no-sync", "-E", "UTF8")

    def start(self) -> None:
        options = ["-k", str(self.folder), "-c", "listen_addresses=", "-c", "max_connections=50"]
        for setting in self.settings or ("fsync=off",):
            options += ["-c", setting]
        log = str(self.folder / "log")
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-t", "180", "-o", " ".join(options), "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "180", "-m", "immediate", "stop")

    def sql(self, statement: str, database: str = "postgres") -> str:
        return self._run("psql", "-h", str(self.folder), "-U", "moored", "-d", database, "-qAtc", statement)

    def url(self, database: str) -> str:
        return f"postgresql://moored@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Create an empty database; returns its URL."""
        name = f"moored_{uuid4().hex[:12]}"
        self.sql(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> str:
        # `pg_ctl start` leaves the server behind, which must not hold our pipe open.
        output = subprocess.DEVNULL if "start" in arguments else subprocess.PIPE
        done = subprocess.run(
            [str(self.binaries / program), *arguments],
            user=self._user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            timeout=240,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed with status {done.returncode}: {done.stderr}")
        return (done.stdout or "").strip()


@contextmanager
def server(*settings: str) -> Iterator[PostgresServer]:
    """A fresh server with PostgreSQL `settings` such as `"work_mem=1MB"`; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="moored-pg-"))
    try:
        postgres = PostgresServer(find_binaries(), folder, settings)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
