"""Setting a commit status: what goes to GitHub, and what each answer of it means."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest

from platformd import clock
from platformd.domain.commit_status import State
from platformd.github.client import CommitStatus, GitHubClient, Later, Refused
from tests.github.server import GitHubServer

STATUS = CommitStatus(
    state=State.SUCCESS,
    description="Deployed version 3",
    context="platformd/shop/production",
    target_url="https://shop-6dcb09b5-production.example.com",
)
SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server


def send(github: GitHubServer, status: CommitStatus = STATUS) -> None:
    GitHubClient(f"{github.url}/api/v3/", timeout=5).set_status("octo-org/octo-repo", SHA, "ghp_x", status)


def test_a_status_is_posted_as_github_documents_it(github: GitHubServer) -> None:
    send(github)
    (told,) = github.requests
    assert (told.method, told.path) == ("POST", f"/api/v3/repos/octo-org/octo-repo/statuses/{SHA}")
    assert told.json == {
        "state": "success",
        "description": "Deployed version 3",
        "context": "platformd/shop/production",
        "target_url": "https://shop-6dcb09b5-production.example.com",
    }
    assert told.headers["Authorization"] == "Bearer ghp_x"
    assert told.headers["Accept"] == "application/vnd.github+json"
    assert told.headers["User-Agent"].startswith("platformd/")


def test_a_long_description_is_cut_to_what_github_takes(github: GitHubServer) -> None:
    send(github, CommitStatus(state=State.FAILURE, description="make:\n *** " + "x" * 500, context="c"))
    (told,) = github.requests
    assert len(told.json["description"]) == 140
    assert told.json["description"].startswith("make: *** x")
    assert "target_url" not in told.json


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "access_token"),
        (403, "access_token"),
        (404, "access_token"),
        (301, "moved"),
        (307, "moved"),
        (422, "No commit found"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(github: GitHubServer, status: int, says: str) -> None:
    elsewhere = {"Location": f"{github.url}/elsewhere"}
    github.answer(status, {"message": "No commit found for SHA"}, elsewhere)
    with pytest.raises(Refused, match=says):
        send(github)
    assert len(github.requests) == 1, "the token went to another place"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_for_later(github: GitHubServer, status: int) -> None:
    github.answer(status, {"message": "Server Error"})
    with pytest.raises(Later, match="Server Error") as later:
        send(github)
    assert later.value.after is None


@pytest.mark.parametrize("status", [403, 429])
def test_github_says_how_long_to_wait(github: GitHubServer, status: int) -> None:
    github.answer(status, {"message": "slow down"}, {"Retry-After": "30"})
    with pytest.raises(Later) as later:
        send(github)
    assert later.value.after == 30
    reset = int((clock.now() + timedelta(minutes=5)).timestamp())
    github.answer(status, {}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)})
    with pytest.raises(Later) as later:
        send(github)
    assert later.value.after == pytest.approx(300, abs=10)


@pytest.mark.parametrize("after", ["never", "-1", "1e999", "9" * 400])
def test_an_odd_wait_is_no_reason_to_wait_for_ever(github: GitHubServer, after: str) -> None:
    github.answer(429, {}, {"Retry-After": after})
    with pytest.raises(Later) as later:
        send(github)
    assert later.value.after is None or later.value.after <= 3600


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xfe", b"[]", b'{"message": 5}'])
def test_an_answer_need_not_be_githubs(github: GitHubServer, body: bytes) -> None:
    github.answer(502, body)
    with pytest.raises(Later, match="502"):
        send(github)


def test_nobody_there_and_somebody_who_says_nothing_are_for_later() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Later, match="cannot be reached"):
            GitHubClient(url, timeout=5).set_status("a/b", SHA, "t", STATUS)
        listener.listen()
        with pytest.raises(Later, match="cannot be reached"):
            GitHubClient(url, timeout=0.2).set_status("a/b", SHA, "t", STATUS)
