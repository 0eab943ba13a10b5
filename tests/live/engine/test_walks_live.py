"""Random walks: however a stack came to its last state, it is what a fresh deployment would be.

Each step changes the desired state or lays hands on what runs; after each, one deployment leaves
nothing to do. Now and then the same state is deployed under another name and compared. Seeds make
a walk repeatable: MOORED_WALK_SEED=… begins there, MOORED_WALKS=… says how many walks.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
from dataclasses import replace
from typing import Any

import anyio
import pytest
import yaml

from reconciler.engine.errors import EngineError
from reconciler.engine.snapshot import refresh_container
from reconciler.planner.model import DesiredStack
from state.model import Overrides
from tests.live.engine.conftest import Bench, remove_project

WALKS = int(os.environ.get("MOORED_WALKS", "2"))
FIRST_SEED = int(os.environ.get("MOORED_WALK_SEED", "1"))
STEPS = 12
COMMANDS = (
    ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"],
    ["sh", "-c", "trap 'exit 0' TERM; sleep 500 & wait"],
)
NAMES = ("app", "base", "cache", "db")
BASE = {"image": "moored/busybox:1", "command": COMMANDS[0], "stop_grace_period": "2s"}


class Walker:
    """The desired state as a document, and what happens to it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.services: dict[str, dict[str, Any]] = {"app": copy.deepcopy(BASE)}
        self.content = "first"
        self.stopped = False
        self.trail: list[str] = []

    def document(self) -> str:
        networks = {"front": {}, "back": {"internal": True}}
        document = {
            "services": self.services,
            "networks": networks,
            "volumes": {"data": {}, "more": {"labels": {"a": "b"}}},
            "configs": {"file": {"content": self.content}},
        }
        return yaml.safe_dump(document).replace("$", "$$")

    def desired(self, bench: Bench) -> DesiredStack:
        users = [name for name, service in self.services.items() if "configs" in service]
        digest = f"{hash(self.content) & 0xFFFFFFFF:08x}" * 8
        content = {name: {"config:file": digest} for name in users}
        desired = bench.desired(self.document(), content=content)
        return replace(desired, overrides=Overrides(stopped=self.stopped))

    def step(self) -> None:
        """Change the desired state somehow."""
        choices = [self._service, self._service, self._scale, self._attribute, self._attribute, self._networks]
        choices += [self._volumes, self._depends, self._content, self._stop, self._in_place]
        change = self.rng.choice(choices)
        change()
        self.trail.append(change.__name__.strip("_"))

    def _any(self) -> dict[str, Any]:
        return self.services[self.rng.choice(sorted(self.services))]

    def _service(self) -> None:
        name = self.rng.choice(NAMES)
        if name in self.services and len(self.services) > 1:
            del self.services[name]
            for service in self.services.values():
                needs = [need for need in service.pop("depends_on", []) if need != name]
                if needs:
                    service["depends_on"] = needs
        else:
            self.services[name] = copy.deepcopy(BASE)

    def _scale(self) -> None:
        self._any()["scale"] = self.rng.choice([0, 1, 2, 3])

    def _attribute(self) -> None:
        service = self._any()
        key, values = self.rng.choice(
            [
                ("environment", [{"A": "1"}, {"A": "2", "B": ""}, None]),
                ("labels", [{"x": "y"}, None]),
                ("hostname", ["box", None]),
                ("command", list(COMMANDS)),
                ("image", ["moored/busybox:1", "moored/busybox:latest"]),
                ("read_only", [True, None]),
                ("ulimits", [{"nofile": 1024}, {"nofile": {"soft": 512, "hard": 1024}}, None]),
                ("tmpfs", [["/run"], ["/run", "/t:size=1m"], None]),
                ("user", ["1000", None]),
                ("healthcheck", [{"test": ["CMD", "true"], "interval": "1s"}, None]),
                ("deploy", [{"update_config": {"order": "start-first"}}, None]),
            ]
        )
        self._set(service, key, self.rng.choice(values))
        if service.get("read_only"):
            service.pop("configs", None)

    def _in_place(self) -> None:
        service = self._any()
        key, values = self.rng.choice(
            [
                ("restart", ["always", "unless-stopped", None]),
                ("mem_limit", ["32m", "64m", None]),
                ("cpus", [0.5, 0.25, None]),
            ]
        )
        self._set(service, key, self.rng.choice(values))

    def _networks(self) -> None:
        value = self.rng.choice([None, ["front"], ["back"], ["front", "back"], {"front": {"aliases": ["other"]}}])
        self._set(self._any(), "networks", value)

    def _volumes(self) -> None:
        value = self.rng.choice([None, ["data:/data"], ["data:/data", "more:/more:ro"], ["/anon", "./:/here"]])
        self._set(self._any(), "volumes", value)

    def _depends(self) -> None:
        names = sorted(self.services)
        name = self.rng.choice(names)
        before = names[: names.index(name)]
        self._set(self.services[name], "depends_on", self.rng.sample(before, min(len(before), 1)) or None)

    def _content(self) -> None:
        service = self._any()
        if not service.get("read_only"):
            service["configs"] = [{"source": "file", "target": "/etc/file"}]
        self.content = self.rng.choice(["first", "second", "third"])

    def _stop(self) -> None:
        self.stopped = not self.stopped

    def _set(self, service: dict[str, Any], key: str, value: Any) -> None:
        service.pop(key, None)
        if value is not None:
            service[key] = value

    async def by_hand(self, bench: Bench) -> None:
        """Do to a container what somebody at the Engine might do."""
        present = sorted(bench.observed.project(bench.name), key=lambda container: container.name)
        if not present:
            return
        container = self.rng.choice(present)
        path = f"containers/{container.id}"
        networks = sorted(container.networks)
        hands: dict[str, tuple[str, str, dict[str, Any]]] = {
            "kill": ("POST", f"{path}/kill", {}),
            "rm": ("DELETE", f"{path}?force=true", {}),
            "rename": ("POST", f"{path}/rename?name={container.name}-by-hand", {}),
            "pause": ("POST", f"{path}/pause", {}),
            "update": ("POST", f"{path}/update", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 7}}),
        }
        if networks:
            body = {"Container": container.id, "Force": True}
            hands["disconnect"] = ("POST", f"networks/{networks[0]}/disconnect", body)
        hand = self.rng.choice(sorted(hands))
        method, target, body = hands[hand]
        target, _, query = target.partition("?")
        params = dict([query.split("=")]) if query else {}
        try:
            await bench.engine.call("by hand", method, target, params=params, body=body or None, write=False)
        except EngineError:
            return  # A stopped one can be neither killed nor paused.
        # As its event would, which may arrive later than the next look at the Engine.
        await refresh_container(bench.engine, bench.observed, container.id)
        self.trail.append(f"{hand} {container.name}")


def _normal(bench: Bench, name: str) -> dict[str, Any]:
    """What matters of a project's containers, whatever its name, their ids and their numbers: a gap
    that somebody tore is not filled, the next container gets the next number, as with Compose."""
    found = {}
    ranks: dict[str, int] = {}
    for container in sorted(bench.observed.project(name), key=lambda container: (container.service, container.number)):
        assert container.name == f"{name}-{container.service}-{container.number}"
        rank = ranks[container.service] = ranks.get(container.service, 0) + 1
        inspect = container.inspect
        config = {k: v for k, v in inspect["Config"].items() if k != "Labels"}
        if inspect["Id"].startswith(config["Hostname"]):
            config["Hostname"] = ""
        config["Labels"] = {k: v for k, v in inspect["Config"]["Labels"].items() if _matters(k)}
        host = dict(inspect["HostConfig"])
        # An anonymous volume of its own was handed on by name; a fresh one has none yet.
        host["Mounts"] = [
            {
                k: v
                for k, v in {**m, "Source": _unless_anonymous(m.get("Source")) or ""}.items()
                if k != "VolumeOptions" or v
            }
            for m in host.get("Mounts") or []
        ]
        if (host["RestartPolicy"] or {}).get("Name") in ("", "no"):
            # `docker update` writes `no` where creation left nothing.
            host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
        if host["MemorySwap"] == 2 * host["Memory"]:
            host["MemorySwap"] = 0
        endpoints = {
            network: {
                # The primary network and those connected later have the short id sooner or later.
                "aliases": sorted(
                    "its name" if a == container.name else a
                    for a in {*(e.get("Aliases") or [])}
                    if not re.fullmatch(r"[0-9a-f]{12}", a)
                ),
                "links": e.get("Links"),
                "options": e.get("DriverOpts"),
            }
            for network, e in inspect["NetworkSettings"]["Networks"].items()
        }
        mounts = sorted(
            (m["Type"], _unless_anonymous(m.get("Name") or m.get("Source")), m["Destination"], m["RW"])
            for m in inspect["Mounts"]
        )
        parts = {"config": config, "host": host, "endpoints": endpoints, "mounts": mounts, "state": container.state}
        found[f"{container.service} {rank}"] = {"image": inspect["Image"], **parts}
    text = json.dumps(found, sort_keys=True).replace(name, "PROJECT")
    normal: dict[str, Any] = json.loads(text)
    for container in normal.values():
        for field in ("Env", "Binds"):
            for part in ("config", "host"):
                if container[part].get(field):
                    container[part][field].sort()
    return normal


def _differences(one: Any, other: Any, place: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [d for key in keys for d in _differences(one.get(key), other.get(key), f"{place}.{key}")]
    return [] if one == other else [f"{place}: {one!r} is {other!r} when fresh"]


def _matters(label: str) -> bool:
    return not label.startswith("com.docker.compose.") or label.endswith(".service")


def _unless_anonymous(source: Any) -> Any:
    return "" if re.fullmatch(r"[0-9a-f]{64}", str(source or "")) else source


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + WALKS))
async def test_wherever_it_came_from_it_is_as_if_freshly_deployed(bench: Bench, seed: int) -> None:
    walker = Walker(random.Random(seed))
    fresh_name = f"{bench.name}f"
    for step in range(STEPS):
        walker.step()
        if walker.rng.random() < 0.4:
            await walker.by_hand(bench)
        try:
            await bench.deploy(walker.desired(bench))
        except AssertionError as error:
            raise AssertionError(f"step {step} of {walker.trail}: {error}\n{walker.document()}") from error
    fresh = Bench(bench.engine, bench.observed, bench.observer, fresh_name, bench.folder)
    try:
        if walker.stopped:
            walker.stopped = False
            await bench.deploy(walker.desired(bench))
        await fresh.deploy(walker.desired(fresh))
        differences = _differences(_normal(bench, bench.name), _normal(fresh, fresh_name))
        assert not differences, "\n".join((*differences, str(walker.trail), walker.document()))
    finally:
        with anyio.CancelScope(shield=True):
            await remove_project(bench.engine, fresh_name)
