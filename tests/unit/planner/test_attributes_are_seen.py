"""Whatever a Compose file says, adding it to a running container or taking it away is noticed.

The container is one that the real Compose made, with a config hash that tells nothing, so
only the comparison of fields can see the difference, and must name it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.planner import describe, plan
from reconciler.planner.model import DesiredStack, Plan, PlanError
from state.observed import ObservedProject
from tests.support.engine_cases import EngineCase, engine_cases
from tests.support.planning import case_observed, case_stack

CASES = {case.name[4:]: case for case in engine_cases()}
MINIMAL = CASES["minimal"]
SINGLE = [
    name
    for name, case in CASES.items()
    if [c["Name"] for c in case.expected["containers"]] == ["/moored-case-a-1"] and not name.startswith("rich-")
]
NO_DIFFERENCE = {
    "minimal": "itself",
    "command-empty": "an empty command means the image's",
    "config-content": "copied files show in no inspect; our own label tells them",
    "cgroup-host": "the default on cgroup v1",
    "health-none": "no health check, as before",
    "health-disable": "no health check, as before",
    "isolation": "the default of Linux",
    "pids-unlimited": "the default",
    "platform": "decides about the image only",
    "profiles-attach": "concerns the client",
    "pull-policy-never": "concerns the image",
    "hooks": "are run by us",
    "restart-no": "the default",
    "runtime": "the default",
    "deploy-empty-restart": "an empty policy is none",
    "deploy-restart-none": "the default",
    "annotations": "refused on this Engine",
}
"""Cases that may look like the minimal service, and why."""


def _expects(name: str) -> bool:
    return name not in NO_DIFFERENCE


def _with(desired: DesiredStack, observed: ObservedProject, other: ObservedProject) -> Plan:
    """Plan with the containers of one case among the networks and volumes of both."""
    networks = {network.name: network for network in (*other.networks, *observed.networks)}
    volumes = {volume.name: volume for volume in (*other.volumes, *observed.volumes)}
    both = replace(observed, networks=tuple(networks.values()), volumes=tuple(volumes.values()))
    return plan(desired, both)


def _relabelled(case: EngineCase) -> ObservedProject:
    return case_observed(case, relabel="f" * 64)


@pytest.mark.parametrize("name", [name for name in SINGLE if _expects(name)])
def test_an_attribute_added_is_seen(name: str) -> None:
    found = _with(case_stack(CASES[name]), _relabelled(MINIMAL), case_observed(CASES[name]))
    assert any(reason.changes for action in found.actions for reason in action.reasons), describe(found)


@pytest.mark.parametrize("name", [name for name in SINGLE if _expects(name)])
def test_an_attribute_taken_away_is_seen(name: str) -> None:
    found = _with(case_stack(MINIMAL), _relabelled(CASES[name]), case_observed(MINIMAL))
    assert any(reason.changes for action in found.actions for reason in action.reasons), describe(found)


@pytest.mark.parametrize("name", [name for name in SINGLE if not _expects(name)])
def test_what_makes_no_difference_to_the_container_changes_nothing(name: str) -> None:
    try:
        found = _with(case_stack(CASES[name]), _relabelled(MINIMAL), case_observed(CASES[name]))
    except PlanError:
        assert name == "annotations"
        return
    assert found.empty, describe(found)
