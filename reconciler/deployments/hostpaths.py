"""Paths as the Engine's host sees them.

When the agent runs in a container its data folder has another path on the host, and the
Engine, which resolves bind mounts, knows only that one. Rendering works on the agent's
own paths; what goes to the Engine (bind sources, files of configs and secrets, the
labels that name the project's files) is translated at the end. Build contexts are read by
the agent and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.compose.model import Model, Project


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Where the data folder is, for the agent and for the host."""

    inside: str
    outside: str

    @property
    def differ(self) -> bool:
        return self.inside.rstrip("/") != self.outside.rstrip("/")

    def translate(self, path: str) -> str:
        """The host's name of a path; paths outside the data folder are the host's already."""
        inside, outside = self.inside.rstrip("/"), self.outside.rstrip("/")
        if path == inside or path.startswith(inside + "/"):
            return outside + path[len(inside) :]
        return path


def on_host(project: Project, paths: HostPaths) -> Project:
    """`project` with what the Engine resolves translated."""
    if not paths.differ:
        return project
    return replace(
        project,
        working_dir=paths.translate(project.working_dir),
        compose_files=tuple(map(paths.translate, project.compose_files)),
        env_files=tuple(map(paths.translate, project.env_files)),
        services={name: _service(service, paths) for name, service in project.services.items()},
        secrets={name: _file(item, paths) for name, item in project.secrets.items()},
        configs={name: _file(item, paths) for name, item in project.configs.items()},
    )


def _service(service: Model, paths: HostPaths) -> Model:
    volumes = [
        {**mount, "source": paths.translate(mount["source"])}
        if mount.get("type") == "bind" and "source" in mount
        else mount
        for mount in service.get("volumes", ())
    ]
    return {**service, "volumes": volumes} if volumes else service


def _file(item: Model, paths: HostPaths) -> Model:
    return {**item, "file": paths.translate(item["file"])} if item.get("file") else item
