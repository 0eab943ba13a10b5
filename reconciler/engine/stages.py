"""Additional build contexts that are images, as stages of the Dockerfile.

BuildKit lets `COPY --from=NAME` and `FROM NAME` mean a context of that name
(https://docs.docker.com/reference/cli/docker/buildx/build/#build-context). Without its session
channel the same is said with a stage of that name before all others, which both builders know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.engine.context import BuildContext
from reconciler.engine.errors import BuildFailed
from reconciler.planner.specs import NamedContext

_STAGE = re.compile(rb"^\s*FROM\s.*\sAS\s+(\S+)\s*$", re.IGNORECASE | re.MULTILINE)
_ESCAPE = re.compile(rb"^#\s*escape\s*=\s*(\S)\s*$", re.IGNORECASE)


def with_stages(context: BuildContext, named: Iterable[NamedContext]) -> BuildContext:
    """The context with a Dockerfile that begins with a stage for each. Blocking. Raises `BuildFailed`."""
    dockerfile = context.read_dockerfile()
    names = {stage.decode("utf-8", "replace").lower() for stage in _STAGE.findall(dockerfile)}
    for each in named:
        if each.name.lower() in names:
            raise BuildFailed(
                f"additional_contexts.{each.name}: the Dockerfile has a stage of that name; to replace it needs a "
                "BuildKit session, which is not supported"
            )
    stages = "".join(f"FROM {each.reference} AS {each.name}\n" for each in named).encode()
    place = _first_stage(dockerfile)
    return context.with_dockerfile(dockerfile[:place] + stages + dockerfile[place:])


def _first_stage(dockerfile: bytes) -> int:
    """Where the first FROM begins: before it stand only directives, comments and global arguments."""
    place, escape, continued = 0, b"\\", False
    for line in dockerfile.splitlines(keepends=True):
        text = line.strip()
        if directive := _ESCAPE.match(text):
            escape = directive.group(1)
        elif not text.startswith(b"#") and text:
            if not continued and text[:5].lower().split() == [b"from"]:
                return place
            continued = text.endswith(escape)
        place += len(line)
    return len(dockerfile)
