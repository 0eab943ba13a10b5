"""Auto-discovery: folders of the commit become deployments."""

from __future__ import annotations

import pytest

from reconciler.deployments.config import DeployConfig, load_deploy_configs
from reconciler.deployments.discovery import Discovered, compose_folders, discover


def document(text: str) -> DeployConfig:
    return load_deploy_configs(text, ".doco-cd.yml", reference="main", target="").configs[0]


def found(config: DeployConfig, files: dict[str, str], *, config_file: str = ".doco-cd.yml") -> Discovered:
    return discover(
        config, files.keys(), lambda path: files[path].encode(), repository="h/o/infra", config_file=config_file
    )


FILES = dict.fromkeys(
    [
        ".doco-cd.yml",
        "compose.yaml",
        "apps/web/compose.yaml",
        "apps/web/docker-compose.yml",
        "apps/db/compose.yml",
        "apps/db/deep/er/docker-compose.yaml",
        "apps/none/readme.md",
        "apps/.github/compose.yaml",
        "apps/x/node_modules/y/compose.yaml",
        "appsy/compose.yaml",
    ],
    "",
)


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        ("auto_discovery: true", [".", "apps/db", "apps/db/deep/er", "apps/web", "appsy"]),
        ("auto_discovery: {enabled: true, depth: 2}", [".", "apps/db", "apps/web", "appsy"]),
        ("auto_discovery: {enabled: true, depth: 1}\nworking_dir: apps", ["apps/db", "apps/web"]),
        ("auto_discovery: true\nworking_dir: apps/db", ["apps/db", "apps/db/deep/er"]),
        ("auto_discovery: true\ncompose_files: [docker-compose.yml, deep/compose.yaml]", ["apps/web"]),
        ("auto_discovery: true\nworking_dir: nowhere", []),
    ],
)
def test_folders_with_a_compose_file(text: str, folders: list[str]) -> None:
    assert list(compose_folders(document(text), FILES)) == folders


def test_what_is_found_inherits_and_is_named_after_its_folder() -> None:
    config = document(
        "auto_discovery: {enabled: true, delete: true}\nworking_dir: apps\nenvironment: {A: 1}\ntimeout: 7"
    )
    result = found(config, FILES)
    assert result.complete
    assert [(each.name, each.working_dir) for each in result.configs] == [
        ("db", "apps/db"),
        ("er", "apps/db/deep/er"),
        ("web", "apps/web"),
    ]
    assert all(each.environment == {"A": "1"} and each.timeout == 7 for each in result.configs)
    assert all(each.auto_discovery.delete for each in result.configs)


def test_the_repositorys_own_folder_takes_the_documents_name() -> None:
    files = {".doco-cd.yml": "", "compose.yaml": "", "sub/infra/compose.yaml": "", "x/compose.yaml": ""}
    assert [each.name for each in found(document("auto_discovery: true"), {"compose.yaml": ""}).configs] == ["infra"]
    named = found(document("name: top\nauto_discovery: {enabled: true, depth: 1}"), files)
    assert [each.name for each in named.configs] == ["top", "x"]


def test_a_nested_file_refines_what_is_inherited() -> None:
    config = document(
        "auto_discovery: true\nworking_dir: apps\nenvironment: {A: 1, B: 2}\nprofiles: [p]\n"
        "destroy: {remove_dir: false}\n"
    )
    files = {
        "apps/web/compose.yaml": "",
        "apps/web/prod.yaml": "",
        "apps/web/.doco-cd.yml": (
            "name: site\nenvironment: {B: 3, C: 4}\nremove_orphans: false\ntimeout: 0\nprofiles: []\n"
            "destroy: true\ncompose_files: [prod.yaml]\nreconciliation: {restart_limit: 0}\n"
            "reference: other\ngit_depth: 3\nauto_discovery: false\ncolour: red\n"
        ),
        "apps/web/.doco-cd.prod.yml": "name: never",
    }
    result = found(config, files)
    (site,) = result.configs
    assert site.name == "site"
    assert site.working_dir == "apps/web"
    assert site.environment == {"A": "1", "B": "3", "C": "4"}
    assert (site.remove_orphans, site.timeout, site.profiles) == (False, 0, ())
    assert (site.destroy.enabled, site.destroy.remove_dir) == (True, False)
    assert site.compose_files == ("prod.yaml",)
    assert site.reconciliation.restart_limit == 0
    assert site.reconciliation.events == ("unhealthy",)
    assert (site.reference, site.git_depth, site.auto_discovery.enabled) == ("main", 0, True)
    assert result.warnings == (
        'unknown key "colour" (apps/web/.doco-cd.yml:12:1)',
        "auto_discovery cannot be changed by a nested file and is ignored (apps/web/.doco-cd.yml:11:1)",
        "git_depth cannot be changed by a nested file and is ignored (apps/web/.doco-cd.yml:10:1)",
        "reference cannot be changed by a nested file and is ignored (apps/web/.doco-cd.yml:9:1)",
    )


def test_a_broken_folder_fails_alone_and_is_told() -> None:
    files = {
        "apps/Web/compose.yaml": "",
        "apps/ok/compose.yaml": "",
        "apps/bad/compose.yaml": "",
        "apps/bad/.doco-cd.yaml": "name: bad\ntimeout: soon\n",
        "apps/two/compose.yaml": "",
        "apps/two/.doco-cd.yaml": "name: a\n---\nname: b\n",
        "other/ok/compose.yaml": "",
    }
    result = found(document("auto_discovery: true"), files)
    assert [each.working_dir for each in result.configs] == ["apps/ok"]
    assert not result.complete
    assert {problem.folder: problem.message for problem in result.problems} == {
        "apps/Web": (
            'invalid deploy configuration: invalid project name "Web": must consist only of lowercase alphanumeric '
            "characters, hyphens, and underscores as well as start with a letter or number (folder apps/Web)"
        ),
        "apps/bad": (
            'failed to decode yaml: timeout: expected a whole number, found text "soon" '
            "(apps/bad/.doco-cd.yaml:2:10, document 1)"
        ),
        "apps/two": (
            "nested .doco-cd configuration file must contain only a single YAML document "
            "(apps/two/.doco-cd.yaml:3:1, document 2)"
        ),
        "other/ok": "duplicate project/stack name found in configuration file: ok (folder other/ok)",
    }


def test_the_deploy_files_own_folder_has_no_nested_file() -> None:
    files = {".doco-cd.yaml": "name: a\n---\nname: b\n", "compose.yaml": ""}
    result = found(document("auto_discovery: true"), files, config_file=".doco-cd.yaml")
    assert [each.name for each in result.configs] == ["infra"]
    nested = found(document("auto_discovery: true"), {**files, ".doco-cd.yaml": "name: own"}, config_file="")
    assert [each.name for each in nested.configs] == ["own"]
