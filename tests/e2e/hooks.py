"""GitHub's part, for tests of webhooks with a real server: it tells of pushes and pull requests, signed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.e2e.platform import Answer, Platform, host_of
from tests.git_host import Repository
from tests.github import payloads
from tests.github.server import GitHubServer
from tests.support import eventually

SECRET = "It's a Secret to Everybody"
TOKEN = "ghs_example"
_guids = (f"guid-{number}" for number in itertools.count(1))


def send(platform: Platform, event: str, payload: Any, guid: str, secret: str = SECRET) -> Answer:
    raw = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": payloads.signature(secret, raw),
    }
    return platform.api("POST", "/webhooks/github", raw, headers)


def push(platform: Platform, repository: Repository, sha: str, guid: str | None = None) -> Any:
    """The verdict on a push that is told."""
    payload = payloads.push(repository.name, after=sha)
    answer = send(platform, "push", payload, guid or next(_guids))
    assert answer.status in (200, 202), answer.text
    return answer.json["verdicts"][0]


def pull_request(platform: Platform, repository: Repository, **what: Any) -> Any:
    """The verdict on a pull request from the repository itself."""
    payload = payloads.pull_request(repository.name, source=repository.name, **what)
    answer = send(platform, "pull_request", payload, next(_guids))
    assert answer.status == 202, answer.text
    return answer.json["verdicts"][0]


def marks(github: GitHubServer, sha: str, last: str, within: float = 10.0) -> list[Any]:
    """The marks that a commit got, once the last of them is `last`."""

    def look() -> list[Any] | None:
        found = [one.json for one in list(github.requests) if one.path.endswith(f"/statuses/{sha}")]
        return found if found and found[-1]["state"] == last else None

    return eventually(look, within)


def pushed_twice(
    platform: Platform,
    github: GitHubServer,
    repository: Repository,
    app_id: str,
    saying: Callable[[str], Mapping[str, str]],
) -> Any:
    """Of the app "shop", two commits are pushed, told, built, deployed, answered and marked; the second deployment.
    `saying` gives the files of one that answers with a word."""
    made: Any = None
    for version, word in ((1, "one"), (2, "two")):
        sha = repository.commit(saying(word))
        told = push(platform, repository, sha)
        place = told["verdict"], told["commit_sha"], told["environment_slug"]
        assert place == ("build", sha, "development")
        made = deployed(platform, app_id, told["delivery"])
        assert (made["commit"]["sha"], made["version"]) == (sha, version)
        for host in (host_of(made), "shop-default-development.localhost"):
            _await_answer(platform, host, word)
        given = marks(github, sha, "success")
        assert [mark["state"] for mark in given] == ["pending", "success"]
        assert given[-1]["target_url"] == made["preview_url"]
        assert given[-1]["context"] == "platformd/shop/development"
    return made


def _await_answer(platform: Platform, host: str, word: str) -> None:
    eventually(lambda: platform.get(host).text.strip() == word)


def deliveries(platform: Platform, app_id: str, size: int = 100) -> list[Any]:
    """Oldest first."""
    path = f"/apps/{app_id}/webhook-deliveries?page_size={size}&sort_order=asc"
    found: list[Any] = platform.api("GET", path).json["data"]
    return found


def deployed(platform: Platform, app_id: str, guid: str, within: float = 60.0) -> Any:
    """The running deployment that came of a delivery."""

    def look() -> Any:
        (told,) = [one for one in deliveries(platform, app_id) if one["delivery"] == guid]
        assert told["build_status"] not in ("failed", "cancelled"), told
        return told["deployment_id"]

    return platform.wait(eventually(look, within), lambda d: d["status"] == "running", within)


def builds_of(platform: Platform, app_id: str) -> list[Any]:
    """Every build of an app, oldest first."""
    found: list[Any] = []
    page = 1
    while True:
        path = f"/builds?app_id={app_id}&page={page}&page_size=100&sort_order=asc"
        answer = platform.api("GET", path).json
        found += answer["data"]
        if len(found) >= answer["total"]:
            return found
        page += 1
