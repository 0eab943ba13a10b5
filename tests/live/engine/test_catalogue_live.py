"""Every case of the catalogue, deployed by us: the Engine then reports what it reported after the
real Docker Compose, and the next plan has nothing to do.

The golden answers are those of `tests/differential/engine_cases`, made by Compose 2.40.3.
"""

from __future__ import annotations

import json
import re
from typing import Any

import anyio
import pytest

from reconciler.planner.model import PlanError
from tests.live.engine.catalogue import (
    Catalogue,
    Deployed,
    asked_for,
    deploy_catalogue,
    nothing_is_left,
    short_name,
)
from tests.support.engine import shared_engine
from tests.support.engine_cases import PROJECT, EngineCase, build_rich_image, engine_cases, image_facts

CASES = list(engine_cases())
REFUSED = {"annotations": "annotations"}
"""Accepted by Compose though this Engine drops the attribute in silence."""
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


@pytest.fixture(scope="module")
def catalogue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    build_rich_image(shared_engine())
    return anyio.run(deploy_catalogue, asked_for(request), tmp_path_factory.mktemp("catalogue"))


@pytest.mark.parametrize("case", CASES, ids=short_name)
def test_the_engine_reports_the_same_and_the_next_plan_is_empty(catalogue: Catalogue, case: EngineCase) -> None:
    name = short_name(case)
    deployed = catalogue.deployed[name]
    if name in REFUSED:
        assert isinstance(deployed.error, PlanError)
        assert REFUSED[name] in str(deployed.error)
        assert not deployed.containers
        return
    nothing_is_left(name, deployed)
    theirs = {recorded["Name"].lstrip("/"): recorded for recorded in case.expected["containers"]}
    ours = {name.replace(deployed.name, PROJECT): inspect for name, inspect in deployed.containers.items()}
    assert sorted(ours) == sorted(theirs)
    names = _Names(deployed, str(case.working_dir))
    for container in theirs:
        mine, golden = names.normal(ours[container]), names.normal(theirs[container])
        for field in DIFFERENT.get(name, ()):
            part, _, key = field.partition(".")
            mine[part].pop(key, None)
            golden[part].pop(key, None)
        assert mine == golden


class _Names:
    """Brings both inspects into one form: names instead of ids, one order, one folder."""

    def __init__(self, deployed: Deployed, recorded_place: str) -> None:
        self._replacements = [(str(deployed.place), "$DIR"), (recorded_place, "$DIR"), (deployed.name, PROJECT)]
        self._replacements += [(facts["Id"], reference) for reference, facts in image_facts().items()]
        for container_id, name in deployed.ids.items():
            self._replacements.append((container_id, f"id of {name.replace(deployed.name, PROJECT)}"))

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
