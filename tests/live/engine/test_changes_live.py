"""Every attribute of the catalogue set, changed and taken away on running containers: exactly the
right containers are touched, the reason names the attribute, and nothing is left to do.

The catalogue's cases are walked through: those about the same attribute are one family, and a
family becomes one value after another. Families that get along share a container, so few
containers see them all. Whether a step makes a difference is told by what the real Compose made
of the two cases. MOORED_EVERY_CHANGE=1 walks through all values, not only the first two.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from reconciler.compose import DiskReader, LoadRequest, load_project
from reconciler.planner import describe
from reconciler.planner.model import DesiredStack, Plan
from state.model import StackKey
from tests.live.engine.conftest import Bench
from tests.support.engine_cases import PLACE, PROJECT, EngineCase, engine_cases

CASES = {case.name[4:]: case for case in engine_cases()}
LEFT_OUT = {"annotations", "privileged", "blkio-rates", "group-add", "bind-propagation"}
"""Refused by this Engine, or not to be started on every machine."""
COMMAND = ["sh", "-c", "trap 'exit 0' TERM QUIT INT HUP USR1 USR2; sleep 600 & wait"]
IN_PLACE = {
    "restart", "cpus", "cpu_shares", "cpuset", "cpu_period", "cpu_quota", "mem_limit", "mem_reservation", "pids_limit",
}  # fmt: skip
SEEN_AS = {
    "deploy": {"restart", "mem_limit", "mem_reservation", "cpus", "pids_limit"},
    "configs": {"volumes", "secrets/configs (places and rights)"},
    "secrets": {"volumes", "secrets/configs (places and rights)"},
    "ports": {"ports", "expose"},
    "network_mode": {"network_mode", "networks"},
    "networks": {"networks", "network_mode"},
    "container_name": {"container_name", "networks"},
    "mem_limit": {"mem_limit", "memswap_limit"},
}
"""Attribute -> how a reason may call it, where that is not just its name."""
AS_MINIMAL = {
    "isolation", "cgroup-host", "runtime", "pids-unlimited", "restart-no", "deploy-empty-restart",
    "deploy-restart-none", "health-none", "health-disable", "platform",
}  # fmt: skip
SAME = {**dict.fromkeys(AS_MINIMAL, "minimal"), "bind-consistency": "bind-long-nocreate"}
"""The Engine shows a difference, but what is said holds anyway or has no effect on Linux."""
STRANGERS = [
    ({"network_mode", "networks"}, {"ports", "mac_address", "hostname", "dns", "extra_hosts", "sysctls", "expose"}),
    ({"network_mode", "networks"}, {"container_name", "uts"}),
    ({"uts"}, {"hostname", "domainname"}),
    ({"read_only"}, {"configs", "secrets"}),
    ({"ipc"}, {"shm_size", "sysctls"}),
    ({"cpus"}, {"cpu_period", "cpu_quota"}),
    ({"deploy"}, IN_PLACE),
    ({"volumes"}, {"tmpfs", "configs", "secrets"}),
    ({"user"}, {"cap_add", "cap_drop", "configs", "secrets"}),
]
"""Attributes that Compose or the Engine do not take together, or whose values get in each other's way."""
TOGETHER = 8


@dataclass(frozen=True)
class Family:
    """Cases about the same attributes."""

    keys: frozenset[str]
    members: tuple[str, ...]

    @property
    def in_place(self) -> bool:
        return self.keys <= {*IN_PLACE, "deploy"}

    @property
    def ends(self) -> bool:
        """Whether it brings a program of its own, which ends."""
        return bool(self.keys & {"command", "entrypoint"})

    def member(self, step: int) -> str:
        return self.members[step] if 0 <= step < len(self.members) else "minimal"


@dataclass
class Pack:
    """Families in one container."""

    families: list[Family] = field(default_factory=list)

    def takes(self, family: Family) -> bool:
        own = frozenset[str]().union(*(other.keys for other in self.families))
        strange = any(
            (one & own and other & family.keys) or (other & own and one & family.keys) for one, other in STRANGERS
        )
        first = self.families[0]
        alike = (first.in_place, first.ends) == (family.in_place, family.ends)
        return alike and not strange and not own & family.keys and len(self.families) < TOGETHER


def _model(name: str) -> dict[str, Any]:
    model: dict[str, Any] = CASES[name].expected["project"]["services"]["a"]
    return model


def _families() -> list[Family]:
    found: dict[frozenset[str], list[str]] = {}
    minimal = _model("minimal")
    for name, case in CASES.items():
        project = case.expected["project"]
        if list(project["services"]) != ["a"] or len(case.expected["containers"]) != 1:
            continue
        if name.startswith("rich-") or name in LEFT_OUT:
            continue
        model = _model(name)
        keys = frozenset(key for key in {*model, *minimal} if model.get(key) != minimal.get(key))
        found.setdefault(keys, []).append(name)
    return [Family(keys, tuple(members)) for keys, members in found.items() if keys]


def _packs() -> list[Pack]:
    packs: list[Pack] = []
    for family in _families():
        for pack in packs:
            if pack.takes(family):
                pack.families.append(family)
                break
        else:
            packs.append(Pack([family]))
    return packs


def _own_names(case: EngineCase, text: str, project: str) -> str:
    """Networks and volumes of each case under names of its own, in whose names the case is."""
    text = re.sub(rf"{PROJECT}_(?!default)", f"{project}_{case.name[4:]}-", text)
    return text.replace(PROJECT, project)


def _golden(name: str) -> Any:
    """What the Engine reported after Compose: what matters about it."""
    case = CASES[name]
    container = json.loads(_own_names(case, json.dumps(case.expected["containers"][0]), "p"))
    config = {key: value for key, value in container["Config"].items() if key not in ("Labels", "Hostname")}
    config["Labels"] = {k: v for k, v in container["Config"]["Labels"].items() if not k.startswith("com.docker.")}
    hostname = container["Config"].get("Hostname") or ""
    config["Hostname"] = "" if re.fullmatch(r"[0-9a-f]{12}", hostname) else hostname
    endpoints = {
        name: {
            **{key: value for key, value in endpoint.items() if key not in ("NetworkID", "Aliases")},
            "Aliases": [a for a in endpoint.get("Aliases") or () if not re.fullmatch(r"[0-9a-f]{12}", a)],
        }
        for name, endpoint in container["NetworkSettings"]["Networks"].items()
    }
    parts = {"config": config, "host": container["HostConfig"], "endpoints": endpoints}
    return {
        part: {
            k: v for k, v in content.items() if k in ("StopTimeout", "Init") or v not in (None, "", [], {}, 0, False)
        }
        for part, content in parts.items()
    }


def _differ(one: str, other: str) -> bool:
    one, other = (SAME.get(name, name) for name in (one, other))
    if one == other:
        return False
    if {one, other} & {"config-content", "command-empty", "entrypoint-empty"}:
        # A copied file, which no inspect shows; the image's own command, which is not ours here.
        return True
    return bool(_golden(one) != _golden(other))


class Walk:
    """The project at each step."""

    def __init__(self, bench: Bench, packs: list[Pack]) -> None:
        self.bench = bench
        self.packs = {f"p{position}": pack for position, pack in enumerate(packs)}

    def desired(self, step: int) -> DesiredStack:
        document: dict[str, Any] = {"services": {"bystander": {"image": "moored/busybox:1", "command": COMMAND}}}
        for name, pack in self.packs.items():
            service: dict[str, Any] = {"image": "moored/busybox:1", "command": COMMAND}
            for family in pack.families:
                self._add(document, service, family, family.member(step))
            document["services"][name] = service
        place = self.bench.folder
        (place / "compose.yaml").write_text(yaml.safe_dump(document).replace("$", "$$"))
        project = load_project(LoadRequest(cwd=str(place), project_name=self.bench.name), DiskReader())
        profiles = {path.name: path.read_text() for path in place.glob("*/*.json")}
        return DesiredStack(StackKey("default", self.bench.name), project, seccomp_profiles=profiles)

    def _add(self, document: dict[str, Any], service: dict[str, Any], family: Family, member: str) -> None:
        if member == "minimal":
            return
        case = CASES[member]
        place = self.bench.folder / member
        if not place.exists():
            shutil.copytree(case.folder, place, ignore=shutil.ignore_patterns("expected.json", "compose.yaml"))
        text = json.dumps(case.expected["project"]).replace(f"{PLACE}/{case.name}", str(place))
        project = json.loads(_own_names(case, text, self.bench.name))
        model = project["services"]["a"]
        for key in family.keys:
            if key in model:
                service[key] = _renamed(model[key], key, member, project)
        for kind in ("networks", "volumes", "configs", "secrets"):
            for key, definition in (project.get(kind) or {}).items():
                if key == "default":
                    continue
                if kind in ("configs", "secrets"):
                    definition = {k: v for k, v in definition.items() if k != "name"}
                document.setdefault(kind, {})[f"{member}-{key}"] = definition

    def changed(self, step: int) -> dict[str, list[Family]]:
        """Service -> the families that differ from the step before."""
        found = {}
        for name, pack in self.packs.items():
            families = [f for f in pack.families if _differ(f.member(step - 1), f.member(step))]
            if families:
                found[name] = families
        return found


def _renamed(value: Any, key: str, member: str, project: dict[str, Any]) -> Any:
    """References to top-level networks, volumes, configs and secrets by their names here."""
    if key == "networks" and isinstance(value, dict):
        return {network if network == "default" else f"{member}-{network}": v for network, v in value.items()}
    if key in ("volumes", "configs", "secrets"):
        known = project.get(key) or {}
        renamed = []
        for item in value:
            item = dict(item)
            if item.get("source") in known:
                item.setdefault("target", f"/{item['source']}" if key == "configs" else item["source"])
                item["source"] = f"{member}-{item['source']}"
            renamed.append(item)
        return renamed
    return value


def _names(family: Family) -> set[str]:
    return set().union(*(SEEN_AS.get(key, {key}) for key in family.keys))


def _told(plan: Plan, service: str) -> set[str]:
    """Attributes that the reasons for touching a service name."""
    prefix = f"services.{service}."
    found = set()
    for action in plan.actions:
        if action.service == service:
            for reason in action.reasons:
                found.update(c.field.removeprefix(prefix) for c in reason.changes if c.field.startswith(prefix))
    return found


def _is(attribute: str, name: str) -> bool:
    return attribute == name or attribute.startswith(f"{name}.")


def _check_reasons(plan: Plan, changed: dict[str, list[Family]]) -> None:
    touched = {action.service for action in plan.actions if action.service}
    assert touched == set(changed), f"wrongly touched or not: {touched ^ set(changed)}\n{describe(plan)}"
    for service, families in changed.items():
        told = _told(plan, service)
        for family in families:
            assert any(_is(t, n) for t in told for n in _names(family)), (
                f"{service}: {sorted(family.keys)} is not named in {sorted(told)}\n{describe(plan)}"
            )
        allowed = set().union(*map(_names, families))
        strange = {t for t in told if not any(_is(t, n) for n in allowed)}
        assert not strange, f"{service}: {strange} did not change\n{describe(plan)}"


def _incarnations(bench: Bench) -> dict[str, tuple[str, Any]]:
    return {c.service: (c.id, c.started_at) for c in bench.observed.project(bench.name)}


@pytest.mark.slow
async def test_each_attribute_changes_its_containers_only_and_says_so(bench: Bench) -> None:
    walk = Walk(bench, _packs())
    longest = max(len(family.members) for pack in walk.packs.values() for family in pack.families)
    steps = longest if os.environ.get("MOORED_EVERY_CHANGE") == "1" else 2
    await bench.deploy(walk.desired(-1))
    for step in [*range(steps), 1000]:
        if step == 1000:
            # Back from the last step taken.
            changed = {
                name: families
                for name, pack in walk.packs.items()
                if (families := [f for f in pack.families if _differ(f.member(steps - 1), "minimal")])
            }
        else:
            changed = walk.changed(step)
        desired = walk.desired(step)
        _check_reasons(await bench.plan(desired), changed)
        before = _incarnations(bench)
        await bench.deploy(desired)
        after = _incarnations(bench)
        for service in before:
            if service not in changed:
                assert after[service] == before[service], service
        for service, families in changed.items():
            if step == 0 and families[0].in_place:
                assert after[service] == before[service], f"{service} could have been changed in place"


def test_the_walk_sees_every_single_service_of_the_catalogue() -> None:
    seen = {member for pack in _packs() for family in pack.families for member in family.members}
    expected = {
        name
        for name, case in CASES.items()
        if [c["Name"] for c in case.expected["containers"]] in (["/moored-case-a-1"], ["/moored-case-own"])
    }
    assert expected - seen - LEFT_OUT - {"minimal"} == {name for name in expected if name.startswith("rich-")}
