from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.services import ApiOptions
from api.webhooks.payload import BadPayload, parse_github, parse_oci, split_artifact
from api.webhooks.routes import is_local
from state.model import IntentKind, Run, RunStatus, Trigger
from tests.unit.api.conftest import SECRET, Kit, failing, sign, succeed

OLD, NEW, ZERO = "a" * 40, "b" * 40, "0" * 40
PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "before": OLD,
    "after": NEW,
    "repository": {
        "name": "shop",
        "full_name": "acme/shop",
        "clone_url": "https://git.example/acme/shop.git",
        "ssh_url": "git@git.example:acme/shop.git",
        "html_url": "https://git.example/acme/shop",
        "private": True,
    },
}
GITLAB: dict[str, Any] = {
    "object_kind": "push",
    "ref": "refs/heads/main",
    "before": OLD,
    "after": NEW,
    "checkout_sha": NEW,
    "project": {
        "name": "shop",
        "path_with_namespace": "acme/shop",
        "http_url": "https://git.example/acme/shop.git",
        "ssh_url": "git@git.example:acme/shop.git",
        "web_url": "https://git.example/acme/shop",
        "visibility_level": 0,
    },
}
BITBUCKET: dict[str, Any] = {
    "push": {
        "changes": [
            {
                "old": {"type": "branch", "name": "main", "target": {"hash": OLD}},
                "new": {"type": "branch", "name": "main", "target": {"hash": NEW}},
            }
        ]
    },
    "repository": {
        "name": "shop",
        "full_name": "acme/shop",
        "is_private": True,
        "links": {"html": {"href": "https://git.example/acme/shop"}},
    },
}
DATA_CENTER: dict[str, Any] = {
    "eventKey": "repo:refs_changed",
    "changes": [{"ref": {"id": "refs/heads/main"}, "fromHash": OLD, "toHash": NEW, "type": "UPDATE"}],
    "repository": {
        "slug": "shop",
        "name": "shop",
        "public": False,
        "project": {"key": "acme"},
        "links": {
            "clone": [
                {"name": "http", "href": "https://git.example/acme/shop.git"},
                {"name": "ssh", "href": "git@git.example:acme/shop.git"},
            ],
            "self": [{"href": "https://git.example/acme/shop"}],
        },
    },
}
AZURE: dict[str, Any] = {
    "id": "03c164c2-8912-4d5e-8009-3707d5f83734",
    "eventType": "git.push",
    "resource": {
        "refUpdates": [{"name": "refs/heads/main", "oldObjectId": OLD, "newObjectId": NEW}],
        "repository": {
            "name": "shop",
            "remoteUrl": "https://git.example/acme/shop.git",
            "sshUrl": "git@git.example:acme/shop.git",
            "webUrl": "https://git.example/acme/shop",
            "project": {"name": "acme", "visibility": "private"},
        },
    },
}


def headers_of(provider: str, body: bytes, event: str | None = None, secret: str = SECRET) -> dict[str, str]:
    digest = sign(body, secret)
    basic = base64.b64encode(f"anyone:{secret}".encode()).decode()
    table: dict[str, tuple[dict[str, str], str, str]] = {
        "github": ({"X-Hub-Signature-256": f"sha256={digest}"}, "X-GitHub-Event", "push"),
        "github, bare": ({"X-Hub-Signature-256": digest}, "X-GitHub-Event", "push"),
        "gitea": ({"X-Gitea-Signature": digest}, "X-Gitea-Event", "push"),
        "gogs": ({"X-Gogs-Signature": digest}, "X-Gogs-Event", "push"),
        "forgejo": ({"X-Forgejo-Signature": digest}, "X-Forgejo-Event", "push"),
        "gitlab": ({"X-Gitlab-Token": secret}, "X-Gitlab-Event", "Push Hook"),
        "bitbucket": ({"X-Hub-Signature": f"sha256={digest}"}, "X-Event-Key", "repo:push"),
        "azure": ({"Authorization": f"Basic {basic}"}, "", ""),
        "azure, signed": ({"X-Hub-Signature-256": f"sha256={digest}"}, "", ""),
        "oci": ({"X-Doco-OCI-Signature-256": f"sha256={digest}"}, "", ""),
    }
    headers, name, usual = table[provider]
    return {**headers, name: event if event is not None else usual} if name else headers


async def deliver(
    kit: Kit, provider: str, payload: Any, *, path: str = "/v1/webhook?wait=true", event: str | None = None, **more: str
) -> httpx.Response:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    secret = more.pop("secret", SECRET)
    extra = {name.replace("_", "-"): value for name, value in more.items()}
    return await kit.client.post(path, content=body, headers={**headers_of(provider, body, event, secret), **extra})


def changed(payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**payload, **changes}


SENDERS = [
    ("github", PUSH),
    ("github, bare", PUSH),
    ("gitea", PUSH),
    ("gogs", PUSH),
    ("forgejo", PUSH),
    ("gitlab", GITLAB),
    ("bitbucket", BITBUCKET),
    ("bitbucket", DATA_CENTER),
    ("azure", AZURE),
    ("azure, signed", AZURE),
]


@pytest.mark.parametrize(("provider", "payload"), SENDERS)
async def test_a_push_of_any_provider_becomes_the_same_intent(kit: Kit, provider: str, payload: dict[str, Any]) -> None:
    answer = await deliver(kit, provider, payload)
    assert answer.status_code == 201, answer.text
    assert answer.text == f'{{"content":"job completed successfully","job_id":"{answer.json()["job_id"]}"}}\n'
    (intent,) = kit.controller.seen
    assert intent.kind is IntentKind.WEBHOOK
    target = intent.payload["target"]
    assert (target["kind"], target["url"], target["reference"], target["target"]) == (
        "git", "https://git.example/acme/shop.git", "refs/heads/main", "",
    )  # fmt: skip
    about = {key: value for key, value in intent.payload.items() if key != "target"}
    assert about == {
        "ref": "refs/heads/main",
        "commit": NEW,
        "name": "shop",
        "full_name": "acme/shop",
        "clone_url": "https://git.example/acme/shop.git",
        "ssh_url": "git@git.example:acme/shop.git",
        "web_url": about["web_url"],
        "private": True,
        "rewritten": False,
    }
    assert about["web_url"].startswith("https://git.example/acme/shop")
    run = await kit.run_of(answer)
    assert (run.trigger, run.repository, run.revision) == (Trigger.WEBHOOK, "acme/shop", f"refs/heads/main ({NEW})")


async def test_an_artifact_is_deployed_by_its_tag(kit: Kit) -> None:
    payload = {"source": "oci", "digest": "sha256:" + "c" * 64, "artifact": "ghcr.io/acme/cfg:main"}
    answer = await deliver(kit, "oci", payload, path="/v1/webhook/prod?wait=1")
    assert answer.status_code == 201
    (intent,) = kit.controller.seen
    target = intent.payload["target"]
    assert (target["kind"], target["url"], target["reference"], target["target"]) == (
        "oci", "ghcr.io/acme/cfg:main", "main", "prod",
    )  # fmt: skip
    assert intent.payload["commit"] == payload["digest"]
    run = await kit.run_of(answer)
    assert (run.repository, run.target) == ("acme/cfg", "prod")
    assert (await deliver(kit, "oci", changed(payload, source="git"))).status_code == 400


async def test_without_waiting_the_job_is_accepted(kit: Kit) -> None:
    kit.controller.outcome = None
    for query in ("", "?wait=false", "?wait=yes", "?wait="):
        answer = await deliver(kit, "github", PUSH, path=f"/v1/webhook{query}")
        assert (answer.status_code, answer.json()["content"]) == (202, "job accepted")
        assert (await kit.run_of(answer)).status is RunStatus.ACCEPTED
    assert (await deliver(kit, "github", PUSH, path="/v1/webhook?wait=TRUE&timeout=0")).status_code == 202


REFUSALS = [
    ("github", 401, "incorrect secret key", "HMAC verification failed"),
    ("gitea", 401, "incorrect secret key", "HMAC verification failed"),
    ("gitlab", 401, "gitlab token verification failed", "gitlab token verification failed"),
    ("bitbucket", 401, "incorrect secret key", "HMAC verification failed"),
    ("azure", 401, "incorrect secret key", "basic authentication failed"),
    ("oci", 401, "incorrect secret key", "HMAC verification failed"),
]


@pytest.mark.parametrize(("provider", "status", "error", "content"), REFUSALS)
async def test_a_wrong_secret_leaves_no_run_but_a_count(
    kit: Kit, provider: str, status: int, error: str, content: str
) -> None:
    answer = await deliver(kit, provider, PUSH, secret="nope")
    assert (answer.status_code, answer.json()["error"], answer.json()["content"]) == (status, error, content)
    assert not await kit.store.list_runs()
    rendered = kit.services.metrics.render().decode()
    assert 'doco_cd_webhook_errors_total{repository="unknown"} 1.0' in rendered
    assert 'moored_webhook_refused_total{reason="invalid"} 1.0' in rendered


async def test_no_proof_at_all_is_400(kit: Kit) -> None:
    for headers in ({}, {"X-Hub-Signature-256": ""}, {"X-GitHub-Event": "push"}):
        answer = await kit.client.post("/v1/webhook", json=PUSH, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"] == answer.json()["content"] == "missing signature or token header"
    assert not await kit.store.list_runs()


@pytest.mark.parametrize("value", ["Basic", "Basic !!!", "Bearer kit-secret", "Basic eA==", "Basic \u00e4"])
async def test_bad_basic_authentication_is_refused(kit: Kit, value: str) -> None:
    answer = await kit.client.post("/v1/webhook", json=AZURE, headers={b"Authorization": value.encode()})
    assert answer.status_code == 401


async def test_githubs_old_signature_is_not_taken(kit: Kit) -> None:
    body = json.dumps(PUSH).encode()
    headers = {"X-Hub-Signature": "sha1=" + "0" * 40, "X-GitHub-Event": "push"}
    assert (await kit.client.post("/v1/webhook", content=body, headers=headers)).status_code == 401


async def test_the_signature_is_over_the_raw_body(kit: Kit) -> None:
    spaced = json.dumps(PUSH, indent=3).encode()
    assert (await deliver(kit, "github", spaced)).status_code == 201
    answer = await kit.client.post("/v1/webhook", content=spaced + b" ", headers=headers_of("github", spaced))
    assert answer.status_code == 401


async def test_the_first_signature_header_decides(kit: Kit) -> None:
    body = json.dumps(PUSH).encode()
    headers = {**headers_of("gitea", body), **headers_of("github", body, secret="nope")}
    assert (await kit.client.post("/v1/webhook", content=body, headers=headers)).status_code == 401


BAD: list[tuple[str, Any, str | None, str, str | None]] = [
    ("github", b"", None, "failed to parse payload", "failed to parse payload: request body is empty"),
    ("github", b"{", None, "failed to parse payload", None),
    ("github", b'{"ref": "x"} more', None, "failed to parse payload", "line 1, column 14: something follows the value"),
    ("github", b'{"ref": "x",}', None, "failed to parse payload", None),
    ("github", b"[]", None, "failed to parse payload", "expected an object"),
    ("github", changed(PUSH, ref=5), None, "failed to parse payload", 'key "ref": expected string, found number'),
    ("github", b"payload=%7B%7D", None, "failed to parse payload", None),
    ("github", PUSH, "", "failed to check if event is branch or tag deletion", "missing event header for GitHub"),
    ("gitea", PUSH, "", "failed to check if event is branch or tag deletion", "missing event header for Gitea"),
    ("gitlab", GITLAB, "", "failed to check if event is branch or tag deletion", "missing event header for GitLab"),
    ("oci", {"source": "x"}, None, "failed to parse payload", 'key "source": expected "oci", found "x"'),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "payload", "event", "error", "content"), BAD)
async def test_a_signed_delivery_that_cannot_be_read_is_400_with_a_failed_run(
    kit: Kit, provider: str, payload: Any, event: str | None, error: str, content: str | None
) -> None:
    answer = await deliver(kit, provider, payload, event=event)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    if content is not None:
        assert answer.json()["content"] == content
    run = await kit.run_of(answer)
    assert (run.status, run.repository) == (RunStatus.FAILED, "unknown")
    assert run.message == f"{error}: {answer.json()['content']}"
    assert not kit.controller.seen


DELETIONS = [
    ("github", changed(PUSH, after=ZERO), "push"),
    ("github", changed(PUSH, after=None), "push"),
    ("gitea", {"ref": "main", "ref_type": "branch", "repository": PUSH["repository"]}, "delete"),
    ("gogs", {"ref": "v1", "ref_type": "tag", "repository": PUSH["repository"]}, "delete"),
    ("gitlab", changed(GITLAB, after=ZERO, checkout_sha=None), "Push Hook"),
    ("gitlab", changed(GITLAB, after=ZERO, checkout_sha=None), "Tag Push Hook"),
    ("gitlab", changed(GITLAB, object_kind="push", after=ZERO, checkout_sha=None), "System Hook"),
    ("bitbucket", changed(BITBUCKET, push={"changes": [{"old": {"type": "branch", "name": "x"}, "new": None}]}), None),
    ("bitbucket", changed(DATA_CENTER, changes=[{"ref": {"id": "refs/heads/x"}, "type": "DELETE"}]), None),
    (
        "azure",
        changed(
            AZURE,
            resource={
                **AZURE["resource"],
                "refUpdates": [{"name": "refs/heads/x", "oldObjectId": OLD, "newObjectId": ZERO}],
            },
        ),
        None,
    ),
]


@pytest.mark.parametrize("query", ["", "?wait=true"])
@pytest.mark.parametrize(("provider", "payload", "event"), DELETIONS)
async def test_a_deleted_branch_or_tag_is_skipped(
    kit: Kit, provider: str, payload: Any, event: str | None, query: str
) -> None:
    answer = await deliver(kit, provider, payload, event=event, path=f"/v1/webhook{query}")
    text = "branch or tag deletion event received, skipping webhook event"
    assert (answer.status_code, answer.json()["content"]) == (202, text)
    run = await kit.run_of(answer)
    assert (run.status, run.message) == (RunStatus.SKIPPED, text)
    assert not kit.controller.seen


@pytest.mark.parametrize(
    ("provider", "payload", "event"),
    [
        ("github", changed(PUSH, before=ZERO), "push"),
        ("github", {"ref": "main", "ref_type": "branch", "repository": PUSH["repository"]}, "create"),
        ("gitlab", changed(GITLAB, after=ZERO, checkout_sha=None), "Merge Request Hook"),
        ("gitlab", changed(GITLAB, after=ZERO), "Push Hook"),
    ],
)
async def test_what_is_no_deletion_deploys(kit: Kit, provider: str, payload: Any, event: str) -> None:
    assert (await deliver(kit, provider, payload, event=event)).status_code == 201


async def test_a_delivery_without_a_reference_is_skipped(kit: Kit) -> None:
    ping = {"zen": "x", "repository": PUSH["repository"]}
    text = "no reference provided in webhook payload, skipping event"
    waiting = await deliver(kit, "github", ping, event="ping")
    assert (waiting.status_code, waiting.json()["error"], waiting.json()["content"]) == (400, text, text)
    accepted = await deliver(kit, "github", ping, event="ping", path="/v1/webhook")
    assert (accepted.status_code, accepted.json()["content"]) == (202, "job accepted")
    for answer in (waiting, accepted):
        run = await kit.run_of(answer)
        assert (run.status, run.message, run.repository) == (RunStatus.SKIPPED, text, "acme/shop")
    assert not kit.controller.seen


LOCAL = ["file:///etc", "FILE:///etc", "/etc", "../x", " file:///etc ", "relative/path"]


@pytest.mark.parametrize("url", LOCAL)
async def test_a_local_address_is_refused(kit: Kit, url: str) -> None:
    payload = changed(PUSH, repository={**PUSH["repository"], "clone_url": url})
    answer = await deliver(kit, "github", payload)
    assert (answer.status_code, answer.json()["error"]) == (403, "webhook clone URL is not allowed")
    assert "SOURCE_URL_REWRITES" in answer.json()["content"]
    run = await kit.run_of(answer)
    assert (run.status, run.code, run.message) == (RunStatus.FAILED, "LocalURLRefused", answer.json()["content"])
    assert run.revision == f"refs/heads/main ({NEW})"
    accepted = await deliver(kit, "github", payload, path="/v1/webhook")
    assert accepted.status_code == 202
    assert (await kit.run_of(accepted)).status is RunStatus.FAILED
    assert not kit.controller.seen


async def test_a_rewrite_rule_allows_what_would_be_local(kit: Kit) -> None:
    payload = changed(PUSH, repository={**PUSH["repository"], "clone_url": "file:///rewritten/shop"})
    assert (await deliver(kit, "github", payload)).status_code == 201
    (intent,) = kit.controller.seen
    assert intent.payload["target"]["url"] == "https://internal.example/rewritten/shop"
    assert (intent.payload["clone_url"], intent.payload["rewritten"]) == ("file:///rewritten/shop", True)


async def test_a_payload_without_an_address_fails(kit: Kit) -> None:
    payload = changed(PUSH, repository={"full_name": "acme/shop"})
    answer = await deliver(kit, "github", payload)
    assert (answer.status_code, answer.json()["error"]) == (500, "failed to clone repository")


@pytest.mark.parametrize(
    ("code", "status"), [("", 500), ("GitError", 500), ("LocalURLRefused", 403), ("InvalidRepositoryName", 400)]
)
async def test_a_failed_deployment_tells_its_cause(kit: Kit, code: str, status: int) -> None:
    kit.controller.outcome = failing("failed to clone repository", "missing access token", code)
    answer = await deliver(kit, "github", PUSH)
    assert answer.status_code == status
    assert answer.json()["error"] == "failed to clone repository"
    assert answer.json()["content"] == "missing access token"


@pytest.mark.parametrize(
    ("provider", "payload", "header"),
    [
        ("github", PUSH, "X-GitHub-Delivery"),
        ("gitea", PUSH, "X-Gitea-Delivery"),
        ("gogs", PUSH, "X-Gogs-Delivery"),
        ("forgejo", PUSH, "X-Forgejo-Delivery"),
        ("gitlab", GITLAB, "X-Gitlab-Event-UUID"),
        ("gitlab", GITLAB, "Idempotency-Key"),
        ("bitbucket", BITBUCKET, "X-Request-UUID"),
        ("azure", AZURE, "X-Nothing"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/webhook", "/v1/webhook?wait=true"])
async def test_a_replayed_delivery_does_nothing_twice_and_is_answered_as_the_first(
    kit: Kit, provider: str, payload: Any, header: str, path: str
) -> None:
    first = await deliver(kit, provider, payload, path=path, **{header: "72d3162e"})
    second = await deliver(kit, provider, payload, path=path, **{header: "72d3162e"})
    assert (first.status_code, first.text) == (second.status_code, second.text)
    assert len(await kit.store.list_runs()) == 1


async def test_a_delivery_that_failed_is_tried_again_when_it_comes_again(kit: Kit) -> None:
    kit.controller.outcome = failing("deployment failed", "registry away")
    jobs = []
    for _ in range(2):
        answer = await deliver(kit, "github", PUSH, X_GitHub_Delivery="72d3162e")
        assert answer.status_code == 500
        jobs.append(answer.json()["job_id"])
    kit.controller.outcome = succeed
    for _ in range(2):
        answer = await deliver(kit, "github", PUSH, X_GitHub_Delivery="72d3162e")
        assert answer.status_code == 201
        jobs.append(answer.json()["job_id"])
    assert len(set(jobs)) == 3
    assert jobs[2] == jobs[3], "done once"


async def test_another_push_under_a_used_delivery_id_is_not_swallowed(kit: Kit) -> None:
    for commit in (NEW, "3" * 40):
        await deliver(kit, "github", changed(PUSH, after=commit), X_GitHub_Delivery="72d3162e")
    assert [intent.payload["commit"] for intent in kit.controller.seen] == [NEW, "3" * 40]


async def test_one_event_for_two_targets_is_two_deliveries(kit: Kit) -> None:
    for target in ("prod", "stage"):
        answer = await deliver(kit, "github", PUSH, path=f"/v1/webhook/{target}?wait=true", X_GitHub_Delivery="1")
        assert answer.status_code == 201
    assert [intent.payload["target"]["target"] for intent in kit.controller.seen] == ["prod", "stage"]


async def test_deliveries_without_an_id_are_all_done(kit: Kit) -> None:
    for _ in range(2):
        assert (await deliver(kit, "github", PUSH)).status_code == 201
    assert len(kit.controller.seen) == 2


async def test_several_references_in_one_delivery_are_several_intents(kit: Kit) -> None:
    def change(name: str) -> dict[str, Any]:
        return {"old": None, "new": {"type": "tag", "name": name, "target": {"hash": NEW}}}

    gone = {"old": {"type": "branch", "name": "old"}, "new": None}
    payload = changed(BITBUCKET, push={"changes": [gone, change("v1"), change("v2")]})

    def second_fails(intent: Any, run: Run) -> Run:
        outcome = failing("deployment failed", "v2: no such image")(intent, run)
        return outcome if "v2" in run.revision else replace(outcome, status=RunStatus.SUCCEEDED)

    kit.controller.outcome = second_fails
    answer = await deliver(kit, "bitbucket", payload, X_Request_UUID="1")
    assert [intent.payload["ref"] for intent in kit.controller.seen] == ["refs/tags/v1", "refs/tags/v2"]
    assert len({intent.id for intent in kit.controller.seen}) == 2
    assert answer.json()["job_id"] == kit.controller.seen[0].id
    assert (answer.status_code, answer.json()["content"]) == (500, "v2: no such image")
    again = await deliver(kit, "bitbucket", payload, X_Request_UUID="1")
    assert again.text == answer.text
    assert [intent.payload["ref"] for intent in kit.controller.seen[2:]] == ["refs/tags/v2"], "what failed"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_a_webhook(kit: Kit, method: str) -> None:
    answer = await kit.client.request(method, "/v1/webhook/prod")
    job_id = answer.json()["job_id"]
    text = "invalid http method"
    assert answer.status_code == 405
    assert answer.text == f'{{"error":"{text}","content":"{text}","job_id":"{job_id}"}}\n'
    assert answer.headers["allow"] == "POST"


async def test_a_bad_timeout_is_400(kit: Kit) -> None:
    answer = await deliver(kit, "github", PUSH, path="/v1/webhook?timeout=soon")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid parameter: timeout")
    assert not kit.controller.seen


class TestSmallPayloads:
    @pytest.fixture
    def options(self, options: ApiOptions) -> ApiOptions:
        return replace(options, max_payload_size=100)

    async def test_a_payload_that_is_too_large_is_413(self, kit: Kit) -> None:
        answer = await deliver(kit, "github", PUSH)
        assert answer.status_code == 413
        assert answer.json()["error"] == "failed to parse payload"
        assert answer.json()["content"] == "failed to parse payload: http: request body too large"


ADDRESSES = {
    False: ["https://x/y", "ssh://git@x/y", "git@x:y.git", "http://x:3000/y", "deploy-1@git.example:a/b"],
    True: ["file://x", "file:/x", "/x", "x", "~/x", "./git@x:y", "ext::sh -c x", "-oProxyCommand@x:y", "a@b:-c"],
}


@pytest.mark.parametrize(("url", "local"), [(url, local) for local, urls in ADDRESSES.items() for url in urls])
def test_local_addresses_are_told_apart(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize(
    ("artifact", "name", "reference", "full_name"),
    [
        ("ghcr.io/acme/cfg:main", "ghcr.io/acme/cfg", "main", "acme/cfg"),
        ("registry:5000/cfg", "registry:5000/cfg", "latest", "cfg"),
        ("registry:5000/a/b/cfg@sha256:abc", "registry:5000/a/b/cfg", "sha256:abc", "a/b/cfg"),
        ("cfg:1", "cfg", "1", "library/cfg"),
        ("acme/cfg", "acme/cfg", "latest", "acme/cfg"),
        ("docker.io/cfg", "docker.io/cfg", "latest", "library/cfg"),
    ],
)
def test_artifacts_are_taken_apart(artifact: str, name: str, reference: str, full_name: str) -> None:
    assert split_artifact(artifact) == (name, reference)
    (event,) = parse_oci({"source": "oci", "artifact": artifact}, "")
    assert (event.full_name, event.ref) == (full_name, reference)


def test_hashes_are_forty_digits_or_nothing() -> None:
    def commit(value: str) -> str:
        return parse_github(changed(PUSH, after=value), "push")[0].commit

    assert commit("B" * 64) == "b" * 40
    assert commit(ZERO) == commit("zz") == commit("abc") == ""
    with pytest.raises(BadPayload, match=r'key "repository.private": expected bool, found string'):
        parse_github(changed(PUSH, repository={"private": "yes"}), "push")
