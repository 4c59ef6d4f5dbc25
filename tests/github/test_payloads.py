"""Reading deliveries: GitHub's documented shapes, and what is none of them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from platformd.domain.webhook import Other, Ping, PullRequest, Push
from platformd.errors import Invalid, Malformed
from platformd.github import read_delivery, repository_of, unwrapped
from tests.github import payloads
from tests.github.payloads import SHA


def happening(event: str, payload: Any) -> Any:
    return read_delivery("guid", event, json.dumps(payload).encode()).happening


def test_a_push() -> None:
    assert happening("push", payloads.push()) == Push(ref="refs/heads/main", sha=SHA)


def test_a_deleted_branch_leads_nowhere() -> None:
    assert happening("push", payloads.push(deleted=True)) == Push(ref="refs/heads/main", sha=None)
    only_zeros = payloads.push() | {"after": "0" * 64}
    assert happening("push", only_zeros) == Push(ref="refs/heads/main", sha=None)


def test_a_pull_request() -> None:
    read = read_delivery("guid", "pull_request", json.dumps(payloads.pull_request()).encode())
    assert (read.event, read.action) == ("pull_request", "opened")
    assert read.happening == PullRequest(
        action="opened",
        number=2,
        ref="changes",
        sha=SHA,
        fork=False,
        open=True,
        at=datetime(2026, 11, 25, 12, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("source", "fork"),
    [("octo-org/octo-repo", False), ("Octo-Org/octo-REPO", False), ("evil/octo-repo", True), (None, True)],
)
def test_what_comes_from_another_repository_is_a_fork(source: str | None, fork: bool) -> None:
    assert happening("pull_request", payloads.pull_request(source=source)).fork is fork


def test_a_closed_pull_request_is_not_open() -> None:
    closed = happening("pull_request", payloads.pull_request(action="closed"))
    assert (closed.action, closed.open) == ("closed", False)


def test_a_ping_and_an_event_that_nobody_asked_for() -> None:
    assert happening("ping", payloads.ping()) == Ping()
    read = read_delivery("guid", "issues", json.dumps({"action": "opened", "issue": {}}).encode())
    assert (read.action, read.happening) == ("opened", Other(name="issues"))
    assert read_delivery("guid", "odd", b"[1]").action is None


@pytest.mark.parametrize(
    ("event", "change", "pointer"),
    [
        ("push", {"ref": None}, "/ref"),
        ("push", {"ref": ""}, "/ref"),
        ("push", {"after": "main; rm -rf /"}, "/after"),
        ("push", {"after": SHA + "\n"}, "/after"),
        ("pull_request", {"number": 0}, "/number"),
        ("pull_request", {"number": "2"}, "/number"),
        ("pull_request", {"pull_request": {"state": "open"}}, "/pull_request"),
        ("pull_request", {"action": 5}, "/action"),
    ],
)
def test_a_shape_that_is_not_githubs_is_refused_by_name(
    event: str, change: dict[str, Any], pointer: str
) -> None:
    payload = payloads.push() if event == "push" else payloads.pull_request()
    with pytest.raises(Invalid) as refused:
        happening(event, payload | change)
    assert [fault.pointer for fault in refused.value.faults] == [pointer]


def test_the_repository_of_a_payload() -> None:
    assert repository_of(json.dumps(payloads.push("a/b")).encode()) == "a/b"
    assert repository_of(json.dumps(payloads.ping("a/b")).encode()) == "a/b"


@pytest.mark.parametrize(
    "payload", [b"{}", b"[]", b'"a/b"', b'{"repository": null}', b'{"repository": {"full_name": 5}}']
)
def test_a_payload_may_name_no_repository(payload: bytes) -> None:
    assert repository_of(payload) is None


@pytest.mark.parametrize(
    "payload", [b"", b"{", b'{"repository": }', b'{"a": ' + b"[" * 100_000, b"payload=%7B%7D"]
)
def test_what_is_no_json_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        repository_of(payload)


def test_a_forms_payload_is_its_json() -> None:
    payload = payloads.push() | {"comment": "100 % + ümläut & =\u20ac"}
    assert json.loads(unwrapped(payloads.as_form(payload), is_form=True)) == payload
    assert unwrapped(b"{}", is_form=False) == b"{}"


@pytest.mark.parametrize(
    "body",
    [b"", b"payload", b"other=1", b"payload=1&payload=2", b"payload=\xff", b"a=1&" * 40 + b"payload={}"],
)
def test_a_form_without_one_payload_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        unwrapped(body, is_form=True)
