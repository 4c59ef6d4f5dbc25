"""From a push, told by a webhook, to an answer of the gateway and a green mark at GitHub: real git, real builds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.building import make_app, set_source
from tests.e2e.hooks import (
    SECRET,
    TOKEN,
    builds_of,
    deliveries,
    deployed,
    marks,
    pull_request,
    push,
    pushed_twice,
    send,
)
from tests.e2e.platform import Platform, host_of
from tests.git_host import GitHost, Repository
from tests.github import payloads
from tests.github.server import GitHubServer
from tests.support import eventually

SERVER = """#!{python}
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = "{says} " + ",".join(sorted(name for name in os.environ if name.startswith("V_")))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
BUILD = {"kind": "command", "command": "cp server.py out", "artifact_path": "out"}


def server_saying(says: str) -> dict[str, str]:
    return {"server.py": SERVER.replace("{python}", "/usr/bin/python3").replace("{says}", says)}


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git"), TOKEN).serving() as host:
        yield host


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server


@pytest.fixture
def platform(data_dir: Path, git_host: GitHost, github: GitHubServer) -> Iterator[Platform]:
    running = Platform(data_dir, "--github-url", git_host.url, "--github-api-url", github.url)
    try:
        yield running.start()
    finally:
        running.destroy()


@pytest.fixture
def scene(platform: Platform, git_host: GitHost) -> tuple[str, Repository]:
    """An app and its repository."""
    name = f"octo/{platform.data_dir.parent.name.lower()}"
    repository = git_host.repository(name)
    app_id = make_app(platform, "shop")
    set_source(
        platform,
        app_id,
        repository=name,
        build=BUILD,
        process_type="tish",
        webhook_secret=SECRET,
        access_token=TOKEN,
        previews=True,
    )
    return app_id, repository


def test_a_push_is_built_deployed_answered_and_marked_at_github(
    platform: Platform, scene: tuple[str, Repository], github: GitHubServer
) -> None:
    app_id, repository = scene
    pushed_twice(platform, github, repository, app_id, server_saying)


def test_a_build_that_fails_is_marked_with_its_reason(
    platform: Platform, scene: tuple[str, Repository], github: GitHubServer
) -> None:
    app_id, repository = scene
    sha = repository.commit({"README": "nothing to copy"})
    told = push(platform, repository, sha)
    assert "BUILD_FAILED" in marks(github, sha, "failure", 30)[-1]["description"]
    (listed,) = deliveries(platform, app_id)
    assert (listed["build_id"], listed["build_status"]) == (told["build_id"], "failed")


def test_a_pull_request_lives_in_its_preview_and_ends_with_it(
    platform: Platform, scene: tuple[str, Repository], github: GitHubServer
) -> None:
    app_id, repository = scene
    secret = {"value": "hidden", "secret": True}
    assert platform.api("PUT", f"/apps/{app_id}/env", {"V_APP": "1", "V_APP_SECRET": secret}).status == 200
    development = f"/apps/{app_id}/environments/development/env"
    assert platform.api("PUT", development, {"V_DEV": "1", "V_DEV_SECRET": secret}).status == 200
    repository.commit(server_saying("main"))
    sha = repository.commit(server_saying("topic"), branch="topic")
    told = pull_request(platform, repository, number=5, ref="topic", sha=sha)
    made = deployed(platform, app_id, told["delivery"])
    assert made["environment_slug"] == "pr-5"
    assert platform.get("shop-default-pr-5.localhost").text == "topic V_APP,V_DEV"
    assert marks(github, sha, "success")[-1]["target_url"] == made["preview_url"]
    fork = payloads.pull_request(repository.name, source="evil/fork", number=6, sha=sha)
    refused = send(platform, "pull_request", fork, "forked").json["verdicts"][0]
    assert refused["reason"]["code"] == "FORK"

    newer = repository.commit(server_saying("newer"), branch="topic")
    later = {"updated_at": "2026-11-25T13:00:00Z"}
    told = pull_request(platform, repository, action="synchronize", number=5, ref="topic", sha=newer, **later)
    second = deployed(platform, app_id, told["delivery"])
    assert eventually(lambda: platform.get("shop-default-pr-5.localhost").text == "newer V_APP,V_DEV")

    last = {"updated_at": "2026-11-25T14:00:00Z"}
    told = pull_request(platform, repository, action="closed", number=5, ref="topic", sha=newer, **last)
    assert told["verdict"] == "removing"
    gone = eventually(lambda: platform.api("GET", f"/apps/{app_id}/environments/pr-5").status == 404, 30)
    assert gone
    for one in (made, second):
        assert platform.deployment(one["id"])["status"] == "cancelled"
    assert platform.get("shop-default-pr-5.localhost").status == 404
    ended = [one for one in deliveries(platform, app_id) if one["delivery"] == told["delivery"]]
    assert ended[0]["verdict"] == "removed"


def test_a_rollback_holds_pushes_back_until_it_is_released(
    platform: Platform, scene: tuple[str, Repository]
) -> None:
    app_id, repository = scene
    for says in ("one", "two"):
        deployed(
            platform, app_id, push(platform, repository, repository.commit(server_saying(says)))["delivery"]
        )
    rolled = platform.api("POST", f"/apps/{app_id}/rollback", {"environment": "development"})
    assert rolled.status == 201, rolled.text
    sha = repository.commit(server_saying("three"))
    held = push(platform, repository, sha)
    assert (held["verdict"], held["reason"]["code"]) == ("ignored", "HELD")
    assert platform.api("POST", f"/apps/{app_id}/environments/development/release").status in (200, 204)
    made = deployed(platform, app_id, push(platform, repository, sha)["delivery"])
    assert platform.get(host_of(made)).text == "three "


def test_two_hundred_pushes_are_answered_at_once_and_the_newest_runs(
    platform: Platform, scene: tuple[str, Repository], record_property: Any
) -> None:
    """Twenty commits, each told ten times under ids of their own, as fast as git makes them."""
    app_id, repository = scene
    took: list[float] = []

    def tell(sha: str, guid: str) -> str:
        start = time.monotonic()
        told = push(platform, repository, sha, guid)
        took.append(time.monotonic() - start)
        return str(told["verdict"])

    with ThreadPoolExecutor(10) as pool:
        for number in range(20):
            sha = repository.commit(server_saying(f"push-{number}"))
            guids = [f"burst-{number}-{copy}" for copy in range(10)]
            assert set(pool.map(tell, itertools.repeat(sha), guids)) == {"build"}
    assert max(took) < 1.0, f"the slowest answer took {max(took):.2f} s"

    def over() -> Any:
        builds = builds_of(platform, app_id)
        return builds if all(build["phase"] == "done" for build in builds) else None

    builds = eventually(over, 90)
    assert len(builds) == 200
    good = [build for build in builds if build["state"] == "succeeded"]
    assert len({build["commit"]["sha"] for build in good}) == len(good), "a commit was built twice"
    others = [build for build in builds if build["state"] != "succeeded"]
    assert {(build["state"], build["reason"]["code"]) for build in others} == {("cancelled", "SUPERSEDED")}
    assert good[-1]["commit"]["sha"] == sha
    assert eventually(lambda: platform.get("shop-default-development.localhost").text == "push-19 ")
    record_property("slowest_answer_secs", max(took))
    record_property("built", len(good))


@pytest.mark.parametrize("attempt", range(3))
def test_what_was_answered_is_done_after_kill_9(
    platform: Platform, scene: tuple[str, Repository], attempt: int
) -> None:
    app_id, repository = scene
    sha = repository.commit(server_saying("survivor"))
    told = push(platform, repository, sha, "once")
    platform.kill()
    platform.start()
    made = deployed(platform, app_id, told["delivery"])
    assert platform.get(host_of(made)).text == "survivor "
    again = send(platform, "push", payloads.push(repository.name, after=sha), "once")
    assert again.status == 200
    assert again.json["verdicts"][0]["build_id"] == told["build_id"]
    assert len(builds_of(platform, app_id)) == 1


def test_a_preview_that_was_closed_goes_after_kill_9(
    platform: Platform, scene: tuple[str, Repository]
) -> None:
    app_id, repository = scene
    sha = repository.commit(server_saying("topic"), branch="topic")
    opened = pull_request(platform, repository, number=8, ref="topic", sha=sha)
    deployed(platform, app_id, opened["delivery"])
    later = {"updated_at": "2026-11-25T13:00:00Z"}
    pull_request(platform, repository, action="closed", number=8, ref="topic", sha=sha, **later)
    platform.kill()
    platform.start()
    assert eventually(lambda: platform.api("GET", f"/apps/{app_id}/environments/pr-8").status == 404, 30)
    assert [one["verdict"] for one in deliveries(platform, app_id)] == ["build", "removed"]


def test_deliveries_are_events(platform: Platform, scene: tuple[str, Repository], tmp_path: Path) -> None:
    app_id, repository = scene
    push(platform, repository, repository.commit(server_saying("one")), "seen")
    events = platform.api(
        "GET", f"/events?app_id={app_id}&type=webhook.", headers={"Accept": "application/json"}
    ).json
    assert [(event["type"], event["data"]["guid"]) for event in events if "guid" in event["data"]] == [
        ("webhook.received", "seen")
    ]
