"""How long loading takes: against one process of Docker Compose a file, and for a file of ten services.

    python -m tests.bench.bench_compose

Prints ratios beside times, because only ratios hold on a busy machine. The corpus is taken from
`MOORED_CORPUS` or from `../shared/corpus` beside the checkout, else the cases of the tests are.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reconciler.compose import ComposeError, DiskReader, LoadRequest, MemoryReader, load_project, render
from tests.support.compose_oracle import compose_binary

_SERVICE = """\
  service{n}:
    image: "registry.example/team/service{n}:${{TAG:-1.2.3}}"
    restart: unless-stopped
    command: ["serve", "--port", "80{n}0"]
    environment:
      DATABASE_URL: "postgres://user:${{PASSWORD:-secret}}@db/app{n}"
      LOG_LEVEL: info
      WORKERS: 4
    ports:
      - "80{n}0:80{n}0"
    volumes:
      - "data{n}:/var/lib/data"
      - "./config/{n}.yaml:/etc/app.yaml:ro"
    networks: [front, back]
    depends_on:
      {dependency}
    labels:
      traefik.enable: "true"
      traefik.http.routers.s{n}.rule: "Host(`s{n}.example`)"
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost/health"]
      interval: 30s
      retries: 3
    deploy:
      resources:
        limits: {{cpus: "0.5", memory: 256M}}
"""


def ten_services() -> str:
    """A file like the ones people have."""
    services = "".join(
        _SERVICE.format(n=n, dependency=f"service{n - 1}: {{condition: service_healthy}}" if n else "{}")
        for n in range(10)
    )
    volumes = "".join(f"  data{n}:\n" for n in range(10))
    return f"services:\n{services}networks:\n  front:\n  back:\n    internal: true\nvolumes:\n{volumes}"


def best(action: Callable[[], object], rounds: int) -> float:
    """The quickest of some rounds, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def corpus() -> list[Path]:
    folder = Path(os.environ.get("MOORED_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
    files = sorted(path for path in folder.glob("*/*/compose.y*ml"))
    return files or sorted((Path(__file__).parents[1] / "differential" / "compose_cases").glob("*/compose.yaml"))


def ours(path: Path) -> None:
    with contextlib.suppress(ComposeError):  # some cases are there to be refused
        render(load_project(LoadRequest(files=(str(path),), project_name="bench"), DiskReader()))


def theirs(path: Path) -> None:
    subprocess.run(
        [str(compose_binary()), "-p", "bench", "-f", str(path), "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        check=False,
    )


def every(files: list[Path], load: Callable[[Path], None]) -> None:
    for path in files:
        load(path)


def main() -> None:
    text = ten_services()
    request = LoadRequest(files=("/project/compose.yaml",), project_name="bench")
    reader = MemoryReader({"/project/compose.yaml": text})
    load_project(request, reader)
    ten = best(lambda: load_project(request, reader), 50)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "compose.yaml"
        file.write_text(text)
        process = best(lambda: theirs(file), 5)
    print(f"ten services, {len(text.splitlines())} lines: {ten * 1e3:.2f} ms; Compose: {process * 1e3:.0f} ms")
    print(f"  {process / ten:.1f} times as fast as one Compose process")
    files = corpus()
    mine = best(lambda: every(files, ours), 3)
    others = best(lambda: every(files, theirs), 1)
    print(f"corpus, {len(files)} files: {mine:.2f} s; Compose, a process a file: {others:.2f} s")
    print(f"  {others / mine:.1f} times as fast")


if __name__ == "__main__":
    main()
