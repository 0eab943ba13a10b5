"""What we send to create a container, against what the real Docker Compose sent.

Both bodies are brought into one form: nothing that is empty, lists that come from maps in
one order. What then differs is what we want to differ, and is listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.planner import container_spec, network_body, volume_body
from reconciler.planner.model import DesiredStack
from tests.support.engine_cases import EngineCase, engine_cases
from tests.support.planning import OLD_ENGINE, case_images, case_observed, case_stack

CASES = list(engine_cases())
_OURS = ("com.docker.compose.version", "com.docker.compose.config-hash", "io.moored.content", "io.moored.files")
_UNORDERED = ("Env", "Binds", "ExtraHosts", "Ulimits", "Mounts", "Links", "LinkLocalIPs")
_DIFFERENT: dict[str, tuple[str, ...]] = {
    # Compose 5.5 writes a protocol and expands ranges; 2.40.3 sends the text as it is.
    "expose": ("ExposedPorts",),
    "expose-range": ("ExposedPorts",),
    "rich-expose": ("ExposedPorts",),
    # Compose 2.40.3 loses the mode.
    "volumes-from-ro": ("HostConfig.VolumesFrom",),
}
"""Case -> fields that we send otherwise, on purpose."""


def _normal(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        kept = {k: _normal(v, k) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, "", 0, False, [], {}, [0, 0]) or k == "Init"}
    if isinstance(value, list):
        items = [_normal(item) for item in value]
        return sorted(items, key=str) if key in _UNORDERED else items
    return value


def _body(body: dict[str, Any]) -> dict[str, Any]:
    normal: dict[str, Any] = _normal(body)
    labels = {key: value for key, value in normal.get("Labels", {}).items() if key not in _OURS}
    normal["Labels"] = labels
    if "com.docker.compose.depends_on" in labels:
        labels["com.docker.compose.depends_on"] = ",".join(sorted(labels["com.docker.compose.depends_on"].split(",")))
    for endpoint in normal.get("NetworkingConfig", {}).get("EndpointsConfig", {}).values():
        _endpoint(endpoint)
    return normal


def _endpoint(endpoint: dict[str, Any]) -> None:
    """Without the echoes that the Engine ignores."""
    endpoint.pop("IPAddress", None)
    endpoint.pop("IPv6Gateway", None)


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and prefix.count(".") < 1 and prefix in ("", "HostConfig"):
        for key, item in value.items():
            yield from _leaves(item, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _without(body: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in _leaves(body) if key not in fields}


def _specs(case: EngineCase, desired: DesiredStack) -> dict[str, Any]:
    observed = case_observed(case)
    by_name = {container.name: container for container in observed.containers}
    references: dict[str, str] = {}
    for container in reversed(observed.containers):
        references[container.service] = container.id
    return {
        name: container_spec(
            desired,
            container.service,
            container.number,
            engine=OLD_ENGINE,
            references=references,
            images=case_images(),
        )
        for name, container in by_name.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[4:])
def test_we_send_what_compose_sends(case: EngineCase) -> None:
    desired = case_stack(case)
    specs = _specs(case, desired)
    created = [request for request in case.expected["requests"] if request["path"] == "/containers/create"]
    assert len(created) == len(specs)
    for request in created:
        spec = specs[request["query"]["name"]]
        different = _DIFFERENT.get(case.name[4:], ())
        assert _without(_body(spec.body), different) == _without(_body(request["body"]), different)
        assert spec.platform == request["query"].get("platform", "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[4:])
def test_further_networks_are_connected_as_compose_connects_them(case: EngineCase) -> None:
    ids = {container["Id"]: container["Name"].lstrip("/") for container in case.expected["containers"]}
    specs = _specs(case, case_stack(case))
    theirs = []
    for request in case.expected["requests"]:
        if request["path"].endswith("/connect"):
            endpoint = _normal(request["body"]["EndpointConfig"])
            _endpoint(endpoint)
            theirs.append((ids[request["body"]["Container"]], request["path"].split("/")[2], endpoint))
    ours = [(name, network, _normal(endpoint)) for name, spec in specs.items() for network, endpoint in spec.connects]
    assert sorted(ours, key=str) == sorted(theirs, key=str)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[4:])
def test_networks_and_volumes_are_made_as_compose_makes_them(case: EngineCase) -> None:
    desired = case_stack(case)
    project = desired.project
    ours = [_body(network_body(project, key, OLD_ENGINE)) for key in project.networks]
    ours.extend(_body(volume_body(desired, key)) for key in project.volumes)
    theirs = [
        _body(request["body"])
        for request in case.expected["requests"]
        if request["path"] in ("/networks/create", "/volumes/create")
    ]
    for body in (*ours, *theirs):
        # What the Engine takes for nothing said.
        if body.get("Driver") == "bridge":
            del body["Driver"]
        if body.get("IPAM", {}).get("Driver") == "default":
            del body["IPAM"]["Driver"]
    by_name = {body["Name"]: body for body in ours}
    assert {body["Name"]: body for body in theirs} == {body["Name"]: by_name.get(body["Name"]) for body in theirs}
    assert len(ours) == len(theirs)
