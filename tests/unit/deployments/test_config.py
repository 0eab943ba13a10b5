"""The deploy file: defaults, shorthands, and every fault with its place."""

from __future__ import annotations

import json

import pytest

from reconciler.deployments.config import (
    DEFAULT_COMPOSE_FILES,
    DeployConfig,
    config_json,
    find_config_file,
    from_json,
    load_deploy_configs,
    not_acted_on,
    parse_inline,
)
from reconciler.deployments.errors import ConfigFileNotFound, InvalidDeployConfig

FILE = ".doco-cd.yml"


def load(text: str, reference: str = "refs/heads/main", target: str = "") -> tuple[DeployConfig, ...]:
    return load_deploy_configs(text.encode(), FILE, reference=reference, target=target).configs


def warnings(text: str) -> tuple[str, ...]:
    return load_deploy_configs(text.encode(), FILE, reference="main", target="").warnings


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidDeployConfig) as refused:
        load_deploy_configs(text, FILE, reference="main", target="")
    return [str(problem) for problem in refused.value.problems]


def test_defaults() -> None:
    (config,) = load("name: shop", "refs/heads/prod", "edge")
    assert config_json(config) == {
        "name": "shop",
        "source": "git",
        "version": "doco.v1",
        "reference": "refs/heads/prod",
        "repository_url": "",
        "context": "",
        "working_dir": ".",
        "compose_files": list(DEFAULT_COMPOSE_FILES),
        "environment": {},
        "env_files": [".env"],
        "profiles": [],
        "webhook_filter": "",
        "remove_orphans": True,
        "prune_images": True,
        "swarm": {"config_retention": None, "secret_retention": None},
        "force_recreate": False,
        "wait_running_jobs": True,
        "force_image_pull": False,
        "timeout": 180,
        "git_depth": 0,
        "build": {"force_image_pull": False, "no_cache": False, "quiet": False, "args": {}},
        "destroy": {"enabled": False, "remove_volumes": True, "remove_images": True, "remove_dir": True},
        "auto_discovery": {
            "enabled": False,
            "depth": 0,
            "delete": False,
            "remove_volumes": False,
            "remove_images": True,
        },
        "reconciliation": {
            "enabled": True,
            "events": ["unhealthy"],
            "restart_timeout": 10,
            "restart_signal": "",
            "restart_limit": 5,
            "restart_window": 300,
        },
        "external_secrets": {},
        "oci": None,
        "target": "edge",
    }
    assert load("name: shop", "")[0].reference == "refs/heads/main"


EVERYTHING = """
name: shop
reference: v1.0
repository_url: /srv/../srv/other
context: remote
working_dir: /deploy/./prod/
compose_files: [a.yaml, sub/b.yaml]
environment: {PORT: 8080, VERSION: 1.10, ON: yes, DAY: 2021-01-01, NONE: , QUOTED: "1"}
env_files: [.env, remote:prod.env]
profiles: [web]
webhook_filter: ^refs/heads/(main|release/.*)$
remove_orphans: false
prune_images: false
swarm: {config_retention: -1, secret_retention: 3}
force_recreate: true
wait_running_jobs: false
force_image_pull: true
timeout: 0
git_depth: 1
build: {no_cache: true, args: {A: 1}}
destroy: {remove_volumes: false}
auto_discovery: {depth: 2, delete: true}
reconciliation: {events: [Die, remove, " unhealthy ", delete], restart_limit: 0, restart_signal: sighup}
external_secrets:
  A: path/to/secret
  B: {store_ref: store, remote_ref: {key: x, n: 1}}
oci: {verify: true, keyless_identities: [{issuer: i, subject: s}], public_keys: [k], ignore_tlog: false}
"""


def test_every_key_is_read_and_kept_over_the_store() -> None:
    (config,) = load(EVERYTHING)
    assert config.reference == "v1.0"
    assert config.repository_url == "file:///srv/other"
    assert config.working_dir == "deploy/prod"
    assert config.environment == {
        "PORT": "8080",
        "VERSION": "1.10",
        "ON": "yes",
        "DAY": "2021-01-01",
        "NONE": "",
        "QUOTED": "1",
    }
    assert config.timeout == 0
    assert not config.destroy.enabled
    assert not config.destroy.remove_volumes
    assert config.destroy.remove_images
    assert config.reconciliation.events == ("die", "destroy", "unhealthy")
    assert config.reconciliation.restart_signal == "SIGHUP"
    assert config.external_secrets["B"] == {"store_ref": "store", "remote_ref": {"key": "x", "n": 1}}
    stored = json.loads(json.dumps(config_json(config)))
    assert from_json(stored) == config
    assert from_json({**stored, "key_of_a_later_version": 1}) == config
    assert config_json(from_json(stored)) == stored


@pytest.mark.parametrize("key", ["destroy", "auto_discovery", "reconciliation"])
def test_a_bool_sets_enabled_alone(key: str) -> None:
    on, off = load(f"name: a\n{key}: true\n---\nname: b\n{key}: false\n")
    assert getattr(on, key).enabled
    assert not getattr(off, key).enabled
    assert getattr(on, key).model_copy(update={"enabled": False}) == getattr(off, key).model_copy()
    assert problems(f"name: a\n{key}: 5\n") == [
        f"failed to decode yaml: invalid {key} value: expected bool or object ({FILE}:2:{len(key) + 3}, document 1)"
    ]


def test_null_means_the_default() -> None:
    (config,) = load("name: a\nremove_orphans:\ncompose_files: ~\nswarm: {config_retention: null}\noci:\n")
    assert config == load("name: a")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timeout: 5", "invalid deploy configuration: key not found: name (.doco-cd.yml:1:1, document 1)"),
        (
            "name: Shop",
            'invalid deploy configuration: invalid project name "Shop": must consist only of lowercase alphanumeric '
            "characters, hyphens, and underscores as well as start with a letter or number "
            "(.doco-cd.yml:1:7, document 1)",
        ),
        (
            "name: a\nsource: svn",
            'invalid deploy configuration: invalid source type "svn": must be "git" or "oci" '
            "(.doco-cd.yml:2:9, document 1)",
        ),
        (
            "name: a\nsource: OCI\nversion: v2",
            'invalid deploy configuration: unsupported oci version "v2" (.doco-cd.yml:3:10, document 1)',
        ),
        (
            "name: a\nrepository_url: ext::x",
            "invalid deploy configuration: RepositoryUrl: invalid Git URL: URL must start with http, https, ssh or "
            "file (or be an absolute local path), got 'ext::x' (.doco-cd.yml:2:17, document 1)",
        ),
        (
            "name: a\nworking_dir: x/../../y",
            "invalid deploy configuration: working_dir leads out of the repository: ../y "
            "(.doco-cd.yml:2:14, document 1)",
        ),
        (
            "name: a\ncompose_files: []",
            "invalid deploy configuration: key not found: compose_files (.doco-cd.yml:2:1, document 1)",
        ),
        (
            "name: a\ncompose_files:\n- ok.yml\n- /etc/x",
            "invalid deploy configuration: invalid file path: /etc/x (.doco-cd.yml:4:3, document 1)",
        ),
        (
            "name: a\ncompose_files: [../x]",
            "invalid deploy configuration: invalid file path: ../x (.doco-cd.yml:2:17, document 1)",
        ),
        (
            "name: a\nswarm: {config_retention: -2}",
            "invalid deploy configuration: swarm.config_retention must be >= -1 (.doco-cd.yml:2:27, document 1)",
        ),
        (
            "name: a\nwebhook_filter: '('",
            'invalid deploy configuration: webhook_filter: invalid regular expression "(": missing ): ( '
            "(.doco-cd.yml:2:17, document 1)",
        ),
        (
            "name: a\nreconciliation: {events: [boom]}",
            'invalid deploy configuration: unsupported reconciliation event "boom", expected one of die, destroy, '
            "update, stop, kill, oom, unhealthy (.doco-cd.yml:2:18, document 1)",
        ),
        (
            "name: a\nreconciliation: {events: ['']}",
            "invalid deploy configuration: reconciliation.events contains an empty event "
            "(.doco-cd.yml:2:18, document 1)",
        ),
        (
            "name: a\nreconciliation: {restart_window: 0}",
            "invalid deploy configuration: reconciliation.restart_window must be > 0 if "
            "reconciliation.restart_limit is > 0 (.doco-cd.yml:2:34, document 1)",
        ),
        ("- name: a", "failed to decode yaml: expected an object, found a list (.doco-cd.yml:1:1, document 1)"),
        ("name: [a]", "failed to decode yaml: name: expected text, found a list (.doco-cd.yml:1:1, document 1)"),
        (
            'name: a\ntimeout: "5"',
            'failed to decode yaml: timeout: expected a whole number, found text "5" (.doco-cd.yml:2:10, document 1)',
        ),
        (
            "name: a\ndestroy: {remove_dir: 'no'}",
            'failed to decode yaml: destroy.remove_dir: expected true or false, found text "no" '
            "(.doco-cd.yml:2:23, document 1)",
        ),
        (
            "name: a\nprofiles: web",
            'failed to decode yaml: profiles: expected a list, found text "web" (.doco-cd.yml:2:11, document 1)',
        ),
        (
            "name: a\nexternal_secrets: {A: {storeRef: x}}",
            "failed to decode yaml: external_secrets: A: use snake_case keys store_ref and remote_ref "
            "(.doco-cd.yml:2:1, document 1)",
        ),
        (
            "name: a\nname: b",
            'failed to decode yaml: mapping key "name" already defined at line 1 (.doco-cd.yml:2:1, document 1)',
        ),
        (
            "name: a\nx: [",
            "failed to decode yaml: did not find expected node content while parsing a flow node (.doco-cd.yml:3:1)",
        ),
        ("# nothing\n", "no yaml documents found in file (.doco-cd.yml)"),
        ("--- \n---\n", "no yaml documents found in file (.doco-cd.yml)"),
    ],
)
def test_a_fault_names_its_place(text: str, expected: str) -> None:
    assert problems(text + "\n") == [expected]


def test_all_faults_of_a_file_come_at_once_and_nothing_of_it_is_used() -> None:
    assert problems("name: good\n---\nname: [1]\n---\nname: good\n---\nworking_dir: ..\n") == [
        f"failed to decode yaml: name: expected text, found a list ({FILE}:3:1, document 2)",
        f"invalid deploy configuration: key not found: name ({FILE}:7:1, document 4)",
        f"invalid deploy configuration: working_dir leads out of the repository: .. ({FILE}:7:14, document 4)",
        f"duplicate project/stack name found in configuration file: good ({FILE}:5:7, document 3)",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x: " + "[" * 5000,
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)),
        "a: &a [*a]",
        "name: !!python/object/apply:os.system [x]",
        "x: " + "y" * (1 << 20),
        b"\xff\xfe\x00x",
        b"name: \xc3\x28",
    ],
    ids=["deep", "aliases", "recursive", "tag", "large", "utf16", "bytes"],
)
def test_hostile_yaml_is_refused_quickly(text: str | bytes) -> None:
    assert all(problem.startswith("failed to decode yaml: ") for problem in problems(text))


def test_merge_keys_and_anchors_work() -> None:
    (config,) = load("name: a\nenvironment: &base {A: 1}\nbuild:\n  args: {<<: *base, B: 2}\n")
    assert config.build.args == {"A": "1", "B": "2"}


def test_an_unknown_key_is_a_warning_that_names_the_nearest() -> None:
    assert warnings("name: a\ncompose_file: [x]\ndestroy:\n  remove_volume: true\ncolour: red\ntarget: x\n") == (
        f'unknown key "compose_file"; did you mean "compose_files"? ({FILE}:2:1, document 1)',
        f'unknown key "remove_volume" in destroy; did you mean "remove_volumes"? ({FILE}:4:3, document 1)',
        f'unknown key "colour" ({FILE}:5:1, document 1)',
        f'unknown key "target" ({FILE}:6:1, document 1)',
    )


def test_the_webhook_filter_searches_anywhere_as_re2_does() -> None:
    (config,) = load("name: a\nwebhook_filter: heads/(main|dev)$\n")
    assert config.accepts("refs/heads/main")
    assert not config.accepts("refs/heads/main2")
    assert load("name: a")[0].accepts("anything")


def test_what_is_not_done_yet_is_listed_only_when_asked_for() -> None:
    assert not_acted_on(load("name: a")[0]) == ()
    assert "oci" in not_acted_on(load("name: a\noci: {verify: true}")[0])


# --- inline deployments -------------------------------------------------------------------


def test_inline_keeps_explicit_false_and_zero() -> None:
    raw = {
        "name": "a",
        "remove_orphans": False,
        "timeout": 0,
        "reconciliation": False,
        "destroy": {"remove_volumes": False},
    }
    (config,) = parse_inline([raw], "dev").configs
    assert (config.remove_orphans, config.timeout, config.reconciliation.enabled) == (False, 0, False)
    assert not config.destroy.remove_volumes
    assert config.reference == "dev"


def test_inline_is_strict_about_kinds_as_json_is() -> None:
    with pytest.raises(InvalidDeployConfig) as refused:
        parse_inline([{"name": "a"}, {"name": 5, "destroy": {"enabled": "yes"}}], "main", lenient=False)
    assert [str(problem) for problem in refused.value.problems] == [
        "deployments[1].name: expected text, found number 5",
        'deployments[1].destroy.enabled: expected true or false, found text "yes"',
    ]
    assert all(problem.wrong_type for problem in refused.value.problems)
    (lenient,) = parse_inline([{"name": 5, "reference": 1.5}], "main").configs
    assert (lenient.name, lenient.reference) == ("5", "1.5")


def test_inline_takes_keys_in_any_case_and_warns_of_unknown_ones() -> None:
    loaded = parse_inline([{"Name": "a", "Prune_Images": False, "x": 1}], "main", where="poll configuration 2")
    assert not loaded.configs[0].prune_images
    assert loaded.warnings == ('unknown key "x" in poll configuration 2, deployments[0]',)


def test_inline_names_are_unique() -> None:
    with pytest.raises(InvalidDeployConfig) as refused:
        parse_inline([{"name": "a"}, {"name": "a"}], "main")
    assert str(refused.value) == "duplicate project/stack name found in configuration file: a"


# --- finding the file ---------------------------------------------------------------------


def test_yaml_comes_before_yml_and_a_target_has_files_of_its_own() -> None:
    there = {"/r/.doco-cd.yml", "/r/.doco-cd.yaml", "/r/.doco-cd.prod.yml", "/r/sub/.doco-cd.yml"}
    find = there.__contains__
    assert find_config_file("/r", "/", "", find) == "/r/.doco-cd.yaml"
    assert find_config_file("/r", "/", "prod", find) == "/r/.doco-cd.prod.yml"
    assert find_config_file("/r", "/sub/", "", find) == "/r/sub/.doco-cd.yml"


@pytest.mark.parametrize(
    ("base", "target", "message"),
    [
        (
            "/",
            "",
            "configuration file not found in repository: .doco-cd.y(a)ml (looked for .doco-cd.yaml and .doco-cd.yml)",
        ),
        (
            "/",
            "x",
            "configuration file not found in repository: .doco-cd.x.y(a)ml "
            "(looked for .doco-cd.x.yaml and .doco-cd.x.yml)",
        ),
        (
            "conf",
            "",
            "configuration file not found in repository: .doco-cd.y(a)ml "
            "(looked for conf/.doco-cd.yaml and conf/.doco-cd.yml)",
        ),
    ],
)
def test_a_missing_file_is_named(base: str, target: str, message: str) -> None:
    with pytest.raises(ConfigFileNotFound) as missing:
        find_config_file("/r", base, target, lambda path: False)
    assert str(missing.value) == message


@pytest.mark.parametrize(("base", "target"), [("/", "../x"), ("/", "a/b"), ("../..", "")])
def test_a_file_outside_the_repository_is_never_looked_for(base: str, target: str) -> None:
    with pytest.raises(ConfigFileNotFound):
        find_config_file("/r", base, target, lambda path: True)
