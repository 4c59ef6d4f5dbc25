"""Webhooks over HTTP: whose they are, how they are answered, what is remembered of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handlers.bodies import LINGER
from handlers.webhooks import LONGEST_PAYLOAD
from platformd import clock
from platformd.domain.build.state import Origin
from platformd.domain.notice import Filter
from platformd.domain.source import BuildKind, Recipe, SetSource, Source, sealed_for
from platformd.domain.spec import ProcessType
from platformd.ids import new_id
from tests.github import payloads
from tests.github.payloads import SHA, signature
from tests.handlers.client import Answer
from tests.handlers.served import Running, Served

HOOK = "/api/v1/webhooks/github"
SECRET = "It's a Secret to Everybody"
REPOSITORY = "octo-org/octo-repo"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass
class Sender:
    """Sends what GitHub would."""

    api: Served
    secret: str = SECRET

    async def __call__(
        self,
        event: str,
        payload: Any,
        *,
        guid: str | None = None,
        kind: str = JSON,
        **headers: str,
    ) -> Answer:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        given = {
            "Content-Type": kind,
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid or new_id(),
            "X-Hub-Signature-256": signature(self.secret, raw),
        }
        return await self.api.client.call("POST", HOOK, body=raw, headers={**given, **headers})


@pytest.fixture
def send(api: Served) -> Sender:
    return Sender(api)


async def app_with_source(api: Served, name: str = "my-api", secret: str | None = SECRET, **rest: Any) -> str:
    app_id = await api.app_id(name)
    sealed = None
    if secret is not None:
        sealed = api.context.vault.seal(secret, context=sealed_for(app_id, "webhook_secret"))
    rest.setdefault("repository", REPOSITORY)
    source = Source(
        app_id=app_id,
        build=Recipe(kind=BuildKind.COMMAND, command="make", artifact_path="server"),
        process_type=ProcessType.TISH,
        webhook_secret=sealed,
        created_at=clock.now(),
        updated_at=clock.now(),
        **rest,
    )
    await api.context.configuration.commit(SetSource(source=source))
    return app_id


async def listed(api: Served, app_id: str, query: str = "") -> Any:
    answer = await api.client.get(f"/api/v1/apps/{app_id}/webhook-deliveries{query}")
    assert answer.status == 200, answer
    return answer.json


# ---- whose it is -------------------------------------------------------------------------------------------


async def test_a_push_is_accepted_by_its_signature_alone(api: Served, send: Sender) -> None:
    app_id = await app_with_source(api)
    answer = await send("push", payloads.push(), guid="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    assert answer.status == 202, answer
    (verdict,) = answer.json["verdicts"]
    assert answer.json["delivery"] == verdict["delivery"] == "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    (build,) = api.builds
    expected = {
        "app_id": app_id,
        "event": "push",
        "action": None,
        "ref": "refs/heads/main",
        "commit_sha": SHA,
        "verdict": "build",
        "reason": None,
        "environment_slug": "development",
        "build_id": build.id,
        "build_status": "queued",
        "deployment_id": None,
    }
    assert {name: verdict[name] for name in expected} == expected
    assert (build.origin, build.branch, build.environment) == (Origin.WEBHOOK, "main", "development")
    assert (await listed(api, app_id))["data"] == [verdict]


async def test_an_api_that_asks_for_tokens_asks_github_for_none(tmp_path: Path) -> None:
    async with Running(tmp_path, require_token=True) as api:
        (await Sender(api)("ping", payloads.ping())).problem(401, "SIGNATURE_INVALID")


@pytest.mark.parametrize("event", ["push", "ping", "pull_request", "issues"])
async def test_nobodys_delivery_is_refused_whatever_it_is(api: Served, send: Sender, event: str) -> None:
    app_id = await app_with_source(api)
    await app_with_source(api, "no-secret", secret=None)
    payload = payloads.push()
    wrong = await send(event, payload, **{"X-Hub-Signature-256": signature("wrong", b"")})
    wrong.problem(401, "SIGNATURE_INVALID")
    for missing in ("", "sha1=0", "sha256="):
        (await send(event, payload, **{"X-Hub-Signature-256": missing})).problem(401, "SIGNATURE_INVALID")
    elsewhere = await send(event, payloads.push("octo-org/other"))
    elsewhere.problem(401, "SIGNATURE_INVALID")
    (await send(event, {"zen": "of an organization"})).problem(401, "SIGNATURE_INVALID")
    assert api.builds == []
    assert (await listed(api, app_id))["total"] == 0


async def test_an_empty_secret_is_no_secret(api: Served) -> None:
    await app_with_source(api, secret=None)
    (await Sender(api, secret="")("push", payloads.push())).problem(401, "SIGNATURE_INVALID")


async def test_the_signature_is_of_the_raw_body(api: Served, send: Sender) -> None:
    await app_with_source(api)
    spaced = json.dumps(payloads.push(), indent=3, ensure_ascii=False).encode()
    assert (await send("push", spaced)).status == 202
    tampered = spaced.replace(b"Fix all the bugs", b"Add a few of them")
    signed = {"X-Hub-Signature-256": signature(SECRET, spaced)}
    (await send("push", tampered, **signed)).problem(401, "SIGNATURE_INVALID")


async def test_each_app_that_names_the_repository_and_knows_the_secret_has_a_verdict(
    api: Served, send: Sender
) -> None:
    main = await app_with_source(api, "one", repository="Octo-Org/OCTO-repo")
    trunk = await app_with_source(api, "two", branch="trunk")
    await app_with_source(api, "stranger", secret="another")
    answer = await send("push", payloads.push())
    verdicts = {one["app_id"]: one for one in answer.json["verdicts"]}
    assert verdicts.keys() == {main, trunk}
    assert verdicts[main]["verdict"] == "build"
    assert verdicts[trunk]["reason"]["code"] == "OTHER_BRANCH"
    assert [build.app_id for build in api.builds] == [main]


# ---- forms of it -------------------------------------------------------------------------------------------


async def test_a_form_is_as_good(api: Served, send: Sender) -> None:
    await app_with_source(api)
    answer = await send("push", payloads.as_form(payloads.push()), kind=f"{FORM}; charset=utf-8")
    assert (answer.status, answer.json["verdicts"][0]["verdict"]) == (202, "build")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": ' + b"[" * 100_000])
async def test_what_is_no_json_is_malformed(api: Served, send: Sender, body: bytes) -> None:
    await app_with_source(api)
    (await send("push", body)).problem(400, "MALFORMED_JSON")


async def test_a_form_without_a_payload_is_malformed(api: Served, send: Sender) -> None:
    (await send("push", b"other=1", kind=FORM)).problem(400, "MALFORMED")


async def test_another_media_type_is_not_taken(api: Served, send: Sender) -> None:
    (await send("push", payloads.push(), kind="text/plain")).problem(415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("header", ["X-GitHub-Event", "X-GitHub-Delivery"])
@pytest.mark.parametrize("value", ["", "a b", "x" * 65])
async def test_githubs_headers_must_be_there(api: Served, send: Sender, header: str, value: str) -> None:
    await app_with_source(api)
    assert (
        header in (await send("push", payloads.push(), **{header: value})).problem(400, "MALFORMED")["detail"]
    )


async def test_a_signed_payload_of_another_shape_is_refused_by_name(api: Served, send: Sender) -> None:
    app_id = await app_with_source(api)
    answer = await send("push", payloads.push() | {"after": "main"})
    answer.problem(422, "INVALID")
    assert answer.pointers == ["/after"]
    assert (await listed(api, app_id))["total"] == 0


async def test_25_mb_are_taken_and_no_byte_more(api: Served, send: Sender) -> None:
    await app_with_source(api)
    bare = json.dumps(payloads.push() | {"padding": ""}).encode()
    padding = b"x" * (LONGEST_PAYLOAD - len(bare))
    largest = bare[:-2] + padding + bare[-2:]
    assert len(largest) == LONGEST_PAYLOAD
    assert (await send("push", largest)).status == 202
    assert "25 MiB" in (await send("push", largest + b" ")).problem(413, "TOO_LARGE")["detail"]
    async with api.client.connected() as connection:
        sizes = {"Content-Length": str(LONGEST_PAYLOAD + LINGER + 1), "Content-Type": JSON}
        await connection.send(api.client.request("POST", HOOK, headers=sizes))
        (await connection.answer()).problem(413, "TOO_LARGE")


# ---- what is made of it ------------------------------------------------------------------------------------


async def test_a_delivery_that_was_answered_is_answered_again_and_done_once(
    api: Served, send: Sender
) -> None:
    app_id = await app_with_source(api)
    first = await send("push", payloads.push(), guid="g-1")
    again = await send("push", payloads.push(), guid="g-1")
    assert (first.status, again.status) == (202, 200)
    assert again.json == first.json
    assert len(api.builds) == 1
    assert (await listed(api, app_id))["total"] == 1
    assert (await send("push", payloads.push(), guid="g-2")).status == 202
    assert len(api.builds) == 2


async def test_a_ping_is_answered_and_remembered(api: Served, send: Sender) -> None:
    app_id = await app_with_source(api)
    answer = await send("ping", payloads.ping())
    assert answer.status == 202
    assert answer.json["verdicts"][0]["reason"]["code"] == "PING"
    assert (await listed(api, app_id))["total"] == 1


async def test_pull_requests_make_previews_and_end_them(api: Served, send: Sender) -> None:
    app_id = await app_with_source(api, previews=True)
    opened = await send("pull_request", payloads.pull_request(number=9))
    (verdict,) = opened.json["verdicts"]
    assert (verdict["verdict"], verdict["environment_slug"], verdict["action"]) == ("build", "pr-9", "opened")
    environment = await api.client.get(f"/api/v1/apps/{app_id}/environments/pr-9")
    assert environment.json["url"] == "http://my-api-default-pr-9.localhost:47000"
    closed = await send("pull_request", payloads.pull_request(number=9, action="closed"))
    assert closed.json["verdicts"][0]["verdict"] == "removing"
    assert [one.environment for one in api.previews.removed] == ["pr-9"]


async def test_a_fork_makes_no_preview(api: Served, send: Sender) -> None:
    await app_with_source(api, previews=True)
    answer = await send("pull_request", payloads.pull_request(source="evil/octo-repo"))
    assert answer.json["verdicts"][0]["reason"]["code"] == "FORK"
    assert api.builds == []


async def test_a_build_deploys_by_the_apps_default_and_a_preview_without_its_port(
    api: Served, send: Sender
) -> None:
    app_id = await app_with_source(api, previews=True)
    default = {"replicas": 3, "networking": {"port": 8080}, "artifact_id": await api.artifact_id()}
    default.pop("replicas")
    changed = await api.client.call("PUT", f"/api/v1/apps/{app_id}", {"default_deployment_spec": default})
    assert changed.status == 200, changed
    await send("push", payloads.push())
    await send("pull_request", payloads.pull_request())
    pushed, preview = (build.spec for build in api.builds)
    assert pushed is not None and preview is not None
    assert (pushed.networking.port, pushed.artifact_id) == (8080, None)
    assert preview == replace(pushed, networking=replace(pushed.networking, port=None))


async def test_what_happens_is_an_event(api: Served, send: Sender) -> None:
    app_id = await app_with_source(api)
    answer = await send("push", payloads.push(), guid="g-1")
    await send("push", payloads.push(), guid="g-1")
    (line,) = api.context.views.newest_events(Filter(app_id=app_id, types=frozenset({"webhook."})), 10)
    event = json.loads(line[1])
    assert event["type"] == "webhook.received"
    assert event["data"]["verdict"] == "build"
    assert event["data"]["guid"] == "g-1"
    assert event["build_id"] == answer.json["verdicts"][0]["build_id"]


async def test_deliveries_are_pages_newest_first(api: Served, send: Sender) -> None:
    app_id = await app_with_source(api)
    for number in range(3):
        await send("issues", payloads.ping(), guid=f"g-{number}")
    page = await listed(api, app_id, "?page_size=2")
    assert ([one["delivery"] for one in page["data"]], page["total"]) == (["g-2", "g-1"], 3)
    page = await listed(api, app_id, "?page=2&page_size=2")
    assert [one["delivery"] for one in page["data"]] == ["g-0"]
    page = await listed(api, app_id, "?sort_order=asc&sort_by=received_at")
    assert [one["delivery"] for one in page["data"]] == ["g-0", "g-1", "g-2"]
    (await api.client.get(f"/api/v1/apps/{new_id()}/webhook-deliveries")).problem(404, "APP_NOT_FOUND")


async def test_a_secret_that_cannot_be_read_is_no_fault_of_githubs(api: Served, send: Sender) -> None:
    """It may try again, and a person is told what to do; other apps go on."""
    app_id = await app_with_source(api)
    elsewhere = api.context.vault.seal(SECRET, context="elsewhere")
    source = api.context.webhooks.senders(REPOSITORY)[0][1]
    await api.context.configuration.commit(SetSource(source=replace(source, webhook_secret=elsewhere)))
    (await send("push", payloads.push())).problem(503, "SECRET_UNREADABLE")
    assert (await listed(api, app_id))["total"] == 0
    other = await app_with_source(api, "other")
    answer = await send("push", payloads.push())
    assert [one["app_id"] for one in answer.json["verdicts"]] == [other]
