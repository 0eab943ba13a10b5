"""Every case of the catalogue, deployed by us: the Engine then reports what it reported after the
real Docker Compose, and the next plan has nothing to do.

The golden answers are those of `tests/differential/engine_cases`, made by Compose 2.40.3.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from typing import Any

import pytest

from reconciler.compose import DiskReader, LoadRequest, load_project
from reconciler.engine.execute import Silent
from reconciler.planner import describe
from reconciler.planner.model import ActionKind, DesiredStack, PlanError
from state.model import StackKey
from tests.support.engine_cases import PROJECT, EngineCase, build_rich_image, engine_cases, image_facts

CASES = list(engine_cases())
REFUSED = {"annotations": "annotations"}
"""Accepted by Compose though this Engine drops the attribute in silence."""
UNSTARTABLE = {
    "rich-entrypoint": "its program does not exist",
    "rich-entrypoint-empty": "its program does not exist",
    "privileged": "a machine without all capabilities",
    "blkio-rates": "a device of its own",
    "group-add": "a group the image lacks",
    "bind-propagation": "a shared mount",
    "hooks": "runs a command in a container that has ended",
    "depends-on": "waits for a container that has ended",
    "network-service": "joins a container that has ended",
    "ipc-pid-service": "joins a container that has ended",
    "namespace-scaled": "joins a container that has ended",
    "shop": "waits for a container that has ended",
}
"""Written to be created, not to run (the golden answers come from `up --no-start`), each with what
hinders it: only their creation is compared."""
SHORT_LIVED = {
    "rich-entrypoint", "rich-command", "ports-short", "ports-range", "ports-published-range", "ports-same-target",
    "ports-long", "ports-ipv6", "health-cmd-shell", "health-cmd", "health-none-string", "health-retries-zero",
    "two-services-networks",
}  # fmt: skip
"""The image's own command ends at once, though a service with a port or health check is to run on:
the next plan rightly starts it again, and does nothing else."""
DIFFERENT = {
    "expose": {"Config.ExposedPorts"},
    "expose-range": {"Config.ExposedPorts"},
    "rich-expose": {"Config.ExposedPorts"},
    "volumes-from-ro": {"HostConfig.VolumesFrom"},
}
"""Where we send something else on purpose."""
_VOLATILE_LABELS = re.compile(
    r"io\.moored\.|com\.docker\.compose\.(version|config-hash|image|project\.|depends_on|image-volume)"
)
_UNORDERED = ("Env", "Binds", "ExtraHosts", "Ulimits", "Mounts", "Links", "VolumesFrom", "LinkLocalIPs", "Aliases")


def _name(case: EngineCase) -> str:
    return case.name[4:]


@pytest.fixture(scope="module", autouse=True)
def _rich_image() -> None:
    from tests.support.engine import shared_engine

    build_rich_image(shared_engine())


@pytest.mark.parametrize("case", CASES, ids=_name)
async def test_the_engine_reports_the_same_and_the_next_plan_is_empty(bench, case):
    name, place = _name(case), bench.folder / "case"
    shutil.copytree(case.folder, place, ignore=shutil.ignore_patterns("expected.json"))
    project = load_project(LoadRequest(cwd=str(place), project_name=bench.name), DiskReader())
    desired = DesiredStack(
        key=StackKey("default", bench.name),
        project=project,
        seccomp_profiles={str(path): path.read_text() for path in place.glob("*.json")},
    )
    if name in REFUSED:
        with pytest.raises(PlanError, match=REFUSED[name]):
            await bench.plan(desired)
        return
    result = await bench.apply(desired)
    hindered = {outcome.action.kind for outcome in result.failures}
    if name in UNSTARTABLE:
        assert hindered <= {ActionKind.START_CONTAINER, ActionKind.WAIT_SERVICE}, result.message
    else:
        assert result.ok, result.message
    again = await bench.plan(replace(desired, policy=replace(desired.policy, images_done=True)))
    if name in UNSTARTABLE or name in SHORT_LIVED:
        allowed = {ActionKind.START_CONTAINER, ActionKind.WAIT_SERVICE}
        assert {action.kind for action in again.actions} <= allowed, describe(again)
    else:
        assert again.empty, describe(again)
        writes = bench.engine.writes
        assert (await bench.executor.execute(again, desired, Silent())).ok
        assert bench.engine.writes == writes
    theirs = {recorded["Name"].lstrip("/"): recorded for recorded in case.expected["containers"]}
    ours = {c.name.replace(bench.name, PROJECT): c.inspect for c in bench.observed.project(bench.name)}
    assert sorted(ours) == sorted(theirs)
    names = _Names(bench, str(place), str(case.working_dir))
    for container in theirs:
        mine, golden = names.normal(ours[container]), names.normal(theirs[container])
        for field in DIFFERENT.get(name, ()):
            part, _, key = field.partition(".")
            mine[part].pop(key, None)
            golden[part].pop(key, None)
        assert mine == golden


class _Names:
    """Brings both inspects into one form: names instead of ids, one order, one folder."""

    def __init__(self, bench: Any, place: str, recorded_place: str) -> None:
        self._replacements = [(place, "$DIR"), (recorded_place, "$DIR"), (bench.name, PROJECT)]
        self._replacements += [(facts["Id"], reference) for reference, facts in image_facts().items()]
        for container in bench.observed.project(bench.name):
            self._replacements.append((container.id, f"id of {container.name.replace(bench.name, PROJECT)}"))

    def normal(self, inspect: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps({key: inspect[key] for key in ("Config", "HostConfig")})
        own = inspect["Id"]
        for old, new in self._replacements:
            text = text.replace(old, new)
        found: dict[str, Any] = _ordered(json.loads(text))
        config, host = found["Config"], found["HostConfig"]
        config["Labels"] = {k: v for k, v in (config.get("Labels") or {}).items() if not _VOLATILE_LABELS.match(k)}
        if config.get("Hostname") == own[:12]:
            config["Hostname"] = ""
        # The namespaces of others are told by an id, in the golden answers by one of a former life.
        for key in ("NetworkMode", "IpcMode", "PidMode"):
            host[key] = re.sub(r"container:.*", "container:other", host.get(key) or "")
        host["VolumesFrom"] = [
            re.sub(r"^[^:]{64}|^id of [^:]*", "other", item) for item in host.get("VolumesFrom") or []
        ]
        if str(host["NetworkMode"]).startswith("container:") or host["NetworkMode"] == "host":
            config["Hostname"] = ""
        found["Endpoints"] = {
            name.replace(self._replacements[2][0], PROJECT): self._endpoint(endpoint, config.get("Hostname", ""))
            for name, endpoint in (inspect["NetworkSettings"].get("Networks") or {}).items()
        }
        return {
            part: {key: value for key, value in content.items() if value not in (None, "", [], {}, 0, False)}
            for part, content in found.items()
        }

    def _endpoint(self, endpoint: dict[str, Any], hostname: str) -> dict[str, Any]:
        text = json.dumps({key: endpoint.get(key) for key in ("IPAMConfig", "Links", "Aliases", "DriverOpts")})
        for old, new in self._replacements:
            text = text.replace(old, new)
        kept: dict[str, Any] = _ordered(json.loads(text))
        # Engine 20.10 adds the short id and the host name, some of it only at the first start.
        kept["Aliases"] = [
            alias
            for alias in kept.get("Aliases") or []
            if alias != hostname and not re.fullmatch(r"[0-9a-f]{12}", alias)
        ]
        return {key: value for key, value in kept.items() if value}


def _ordered(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _ordered(v, k) for k, v in value.items()}
    if isinstance(value, list):
        items = [_ordered(item) for item in value]
        return sorted(items, key=str) if key in _UNORDERED else items
    return value
