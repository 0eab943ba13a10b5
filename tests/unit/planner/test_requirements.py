"""What cannot be done is refused by name before anything is touched."""

from __future__ import annotations

import pytest

from reconciler.planner import plan
from reconciler.planner.model import PlanError
from state.observed import EngineFacts, ObservedProject
from tests.support.planning import NEW_ENGINE, OLD_ENGINE, image, stack

IMAGES = {"app:1": image("app:1"), "data:1": image("data:1")}


def _refusal(body: str, engine: EngineFacts = OLD_ENGINE, top: str = "") -> str:
    desired = stack(f"services:\n  web: {{image: 'app:1', {body}}}\n{top}")
    try:
        plan(desired, ObservedProject(engine, images=IMAGES))
    except PlanError as error:
        return str(error)
    return ""


GATES = [
    ("annotations: {a: b}", "services.web.annotations", "1.43"),
    ("healthcheck: {test: x, start_period: 1s, start_interval: 1s}", "services.web.healthcheck.start_interval", "1.44"),
    (
        "volumes: [{type: bind, source: /x, target: /x, bind: {recursive: readonly}}]",
        "services.web.volumes[0].bind.recursive",
        "1.44",
    ),
    (
        "volumes: [{type: volume, source: data, target: /x, volume: {subpath: a}}]",
        "services.web.volumes[0].volume.subpath",
        "1.45",
    ),
    ("volumes: [{type: image, source: 'data:1', target: /x}]", "services.web.volumes[0].type image", "1.48"),
    ("networks: {n: {gw_priority: 1}}", "services.web.networks.n.gw_priority", "1.48"),
    ("networks: {n: {interface_name: eth9}}", "services.web.networks.n.interface_name", "1.49"),
    ("networks: {a: {}, n: {mac_address: '02:42:ac:11:65:43'}}", "services.web.networks.n.mac_address", "1.44"),
    ("networks: [noipv4]", "networks.noipv4.enable_ipv4", "1.48"),
]
TOP = "networks: {a: {}, n: {}, noipv4: {enable_ipv4: false}}\nvolumes: {data: {}}\n"


@pytest.mark.parametrize(("body", "attribute", "version"), GATES, ids=[gate[1] for gate in GATES])
def test_an_attribute_the_engine_does_not_know_is_named_with_both_versions(
    body: str, attribute: str, version: str
) -> None:
    message = _refusal(body, top=TOP)
    assert message.startswith(f"{attribute}: needs Engine API {version}, this Engine has 1.41")
    assert _refusal(body, NEW_ENGINE, TOP) == ""


@pytest.mark.parametrize(
    ("body", "top", "message"),
    [
        ("provider: {type: x}", "", "services.web.provider"),
        ("models: [m]", "models: {m: {model: x}}", "services.web.models"),
        ("use_api_socket: true", "", "services.web.use_api_socket"),
        ("volumes: [{type: npipe, source: x, target: /x}]", "", "services.web.volumes[0].type: npipe"),
        ("volumes: [{type: cluster, source: x, target: /x}]", "", "services.web.volumes[0].type: cluster"),
        ("secrets: [s]", "secrets: {s: {external: true}}", "secrets.s.external"),
        ("secrets: [s]", "secrets: {s: {file: ./s, driver: d}}", "secrets.s.driver"),
        ("configs: [c]", "configs: {c: {external: true}}", "configs.c.external"),
        ("configs: [c]", "configs: {c: {file: ./c, template_driver: golang}}", "configs.c.template_driver"),
        ("secrets: [s]", "secrets: {s: {environment: NOPE}}", "secrets.s.environment: variable NOPE is not set"),
        ("read_only: true, configs: [c]", "configs: {c: {content: x}}", "services.web.configs: c cannot be copied"),
        ("security_opt: [nonsense]", "", "services.web.security_opt: 'nonsense' is not of the form"),
        ("security_opt: ['seccomp=p.json']", "", "services.web.security_opt: seccomp profile p.json could not be read"),
        ("healthcheck: {test: x, start_interval: 1s}", "", "healthcheck.start_interval: needs a start_period"),
        ("pre_start: [{command: a, per_replica: true}]", "", "services.web.pre_start[0].per_replica"),
        ("build: {context: ., secrets: [s]}", "secrets: {s: {file: ./s}}", "services.web.build.secrets"),
        ("build: {context: ., ssh: [default]}", "", "services.web.build.ssh"),
        (
            "build: {context: ., additional_contexts: {a: ./a}}",
            "",
            "services.web.build.additional_contexts: a is no image",
        ),
        (
            "build: {context: ., additional_contexts: {'a:1': 'docker-image://b'}}",
            "",
            "services.web.build.additional_contexts: a:1 is no name of a build stage",
        ),
        (
            "build: {context: 'https://git.example/a.git', additional_contexts: {a: 'docker-image://b'}}",
            "",
            "services.web.build.additional_contexts: the Dockerfile of a remote context",
        ),
        (
            "build: {context: ., additional_contexts: {a: 'service:web'}}",
            "",
            "services.web.build.additional_contexts: the image of web would be built from itself",
        ),
        ("build: {context: ., privileged: true}", "", "services.web.build.privileged"),
        ("build: {context: ., shm_size: 1m}", "", "services.web.build.shm_size: needs Engine API 1.42"),
    ],
)
def test_what_no_engine_of_this_kind_can_do_is_refused(body: str, top: str, message: str) -> None:
    engine = NEW_ENGINE if "start_period" in message else OLD_ENGINE
    assert message in _refusal(body, engine, top)


def test_all_findings_come_in_one_message() -> None:
    message = _refusal("annotations: {a: b}, use_api_socket: true, secrets: [s]", top="secrets: {s: {external: true}}")
    assert len(message.split("; ")) == 3


@pytest.mark.parametrize(
    "body",
    [
        "mac_address: '02:42:ac:11:65:43'",
        "networks: {a: {mac_address: '02:42:ac:11:65:43'}}",
        "volumes: ['/:/host:ro,rslave']",
        "volumes: [{type: bind, source: /x, target: /x, bind: {recursive: disabled}}]",
        "platform: linux/amd64",
        "networks: {a: {priority: 5}}",
        "security_opt: [no-new-privileges, 'label:disable', 'seccomp=unconfined']",
    ],
)
def test_what_an_old_engine_can_do_is_not_refused(body: str) -> None:
    assert _refusal(body, top=TOP) == ""


def test_a_missing_image_that_must_not_be_pulled_is_refused() -> None:
    desired = stack("services: {web: {image: 'gone:1', pull_policy: never}}")
    with pytest.raises(PlanError, match=r"services\.web\.image: gone:1 is not here and pull_policy says never"):
        plan(desired, ObservedProject(OLD_ENGINE, images={"gone:1": None}))


def test_an_image_of_another_platform_is_told_as_such() -> None:
    desired = stack("services: {web: {image: 'app:1', platform: linux/arm64, pull_policy: never}}")
    with pytest.raises(PlanError, match=r"app:1 is here for linux/amd64 only, not for linux/arm64, and pull_policy"):
        plan(desired, ObservedProject(OLD_ENGINE, images={"app:1": image("app:1")}))


def test_what_only_decorates_a_build_is_a_warning() -> None:
    desired = stack("services: {web: {build: {context: ., cache_to: ['type=inline'], sbom: true}}}")
    found = plan(desired, ObservedProject(OLD_ENGINE))
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "services.web.build.cache_to",
        "services.web.build.sbom",
    ]
