"""Commit statuses: what GitHub is told as builds and deployments come along, whatever it answers or whoever dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platformd import clock
from platformd.domain.build.orders import SaveBuild
from platformd.domain.build.state import Build, BuildState, Phase
from platformd.domain.deliveries import AcceptDelivery
from platformd.domain.deployment.state import Status
from platformd.domain.naming import Addresses
from platformd.domain.notice import Event, Notice
from platformd.domain.operations import SaveDeployment
from platformd.domain.snapshot import Commit, Reason
from platformd.domain.source import sealed_for
from platformd.domain.spec import DeploymentSpec
from platformd.domain.webhook import Delivery, Push
from platformd.github.client import GitHubClient
from platformd.github.reporter import Reporter
from platformd.secrets import Vault
from platformd.store import Store
from platformd.store.commit_statuses import Subject, said_of
from tests.github.server import GitHubServer
from tests.store.samples import done, make_app, make_deployment, make_source
from tests.support import eventually

SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
TOKEN = "ghp_token"


class Scene:
    """A store, GitHub on loopback, and a reporter that may be closed and made anew."""

    def __init__(self, folder: Path, github: GitHubServer) -> None:
        self.github = github
        self.types: list[str] = []
        self._heard: Callable[[Any], None] = lambda _: None
        self.store = Store.open(folder, publish=self._publish)
        self.vault = Vault.open(folder)
        app = make_app(self.store)
        self.app_id = app.id
        make_source(self.store, app.id, repository="octo/hello", access_token=self.sealed(app.id))
        self.reporter: Reporter | None = None

    def sealed(self, app_id: str) -> str:
        return self.vault.seal(TOKEN, context=sealed_for(app_id, "access_token"))

    def _publish(self, events: Any, revisions: Any) -> None:
        self.types += [event.notice.type for event in events]
        self._heard(events)

    def begin(self) -> None:
        client = GitHubClient(self.github.url, timeout=5)
        self.reporter = Reporter(self.store, self.vault, client, Addresses(port=47000), first_wait=0.01)
        self._heard = self.reporter.heard
        self.reporter.start()

    def end(self) -> None:
        if self.reporter is not None:
            self.reporter.close()
            self.reporter = None
            self._heard = lambda _: None

    def push(self, sha: str = SHA, guid: str = "g-1", app_id: str | None = None) -> Build:
        app_id = app_id or self.app_id
        delivery = Delivery(
            guid=guid, event="push", action=None, happening=Push(ref="refs/heads/main", sha=sha)
        )
        accepting = AcceptDelivery(
            app_ids=(app_id,),
            delivery=delivery,
            domain="localhost",
            build_timeout_secs=900,
            specs={app_id: DeploymentSpec()},
            at=clock.now(),
        )
        accepted = done(
            self.store.commit(accepting, lambda made: [_built(asked.build) for asked in made.builds])
        )
        return accepted.builds[0].build

    def save(self, build: Build, **changes: Any) -> Build:
        saved = replace(build, revision=build.revision + 1, updated_at=clock.now(), **changes)
        return done(self.store.commit(SaveBuild(saved), lambda _: [_built(saved)]))

    def deploy(self, build: Build) -> Any:
        deployment = make_deployment(self.store, self.app_id, build_id=build.id, commit=build.commit)
        self.save(build, state=BuildState.SUCCEEDED, phase=Phase.DONE, deployment_id=deployment.id)
        return deployment

    def run(self, deployment: Any, **changes: Any) -> None:
        saved = replace(deployment, revision=deployment.revision + 1, **changes)
        notice = Notice(
            kind="deployment", type="deployment.ready", app_id=self.app_id, deployment_id=deployment.id
        )
        done(self.store.commit(SaveDeployment(saved), lambda _: [notice]))

    def told(self, count: int) -> list[tuple[str, str]]:
        """(commit, state) of exactly so many requests, once they are there and remembered."""
        eventually(lambda: len(self.github.requests) >= count)
        eventually(lambda: sum(type.startswith("webhook.status_") for type in self.types) >= count)
        assert len(self.github.requests) == count
        return [(one.path.rpartition("/")[2], one.json["state"]) for one in self.github.requests]

    def said(self, sha: str = SHA) -> Any:
        return said_of(self.store.reader, Subject(self.app_id, "development", sha))


def _built(build: Build) -> Notice:
    return Notice(kind="build", type=f"build.{build.state.value}", app_id=build.app_id, build_id=build.id)


@pytest.fixture
def scene(tmp_path: Path, no_leaks: None) -> Iterator[Scene]:
    with GitHubServer() as github:
        scene = Scene(tmp_path, github)
        scene.begin()
        yield scene
        scene.end()
        scene.store.close()


def test_from_push_to_running(scene: Scene) -> None:
    build = scene.push()
    assert scene.told(1) == [(SHA, "pending")]
    build = scene.save(build, state=BuildState.RUNNING, phase=Phase.BUILDING, commit=_commit(SHA))
    deployment = scene.deploy(build)
    scene.run(deployment, status=Status.RUNNING, ever_ready=True)
    assert scene.told(2) == [(SHA, "pending"), (SHA, "success")]
    last = scene.github.requests[-1]
    assert last.path == f"/repos/octo/hello/statuses/{SHA}"
    assert last.headers["Authorization"] == f"Bearer {TOKEN}"
    assert last.json["context"] == "platformd/web/development"
    assert last.json["target_url"] == f"http://{deployment.identity.preview_host}:47000"
    scene.run(deployment, status=Status.FAILED)  # later troubles are not the commit's
    scene.push("b" * 40, guid="g-2")
    assert scene.told(3)[-1] == ("b" * 40, "pending")


def test_a_failure_says_why(scene: Scene) -> None:
    reason = Reason(code="BUILD_FAILED", message="make: *** No rule to make target 'hello'")
    scene.save(scene.push(), state=BuildState.FAILED, phase=Phase.DONE, reason=reason)
    eventually(lambda: scene.said() is not None and scene.said().settled)
    assert scene.github.requests[-1].json["state"] == "failure"
    assert "No rule to make target" in scene.github.requests[-1].json["description"]


def test_nothing_is_told_without_a_token(scene: Scene) -> None:
    """Another app's push, told after it, shows that its turn has come and gone."""
    other = make_app(scene.store, "other").id
    make_source(scene.store, other, repository="octo/hello")
    build = scene.push(app_id=other)
    scene.save(build, state=BuildState.FAILED, phase=Phase.DONE)
    scene.push("b" * 40, guid="g-2")
    assert scene.told(1) == [("b" * 40, "pending")]


def test_what_github_cannot_take_now_is_told_again_and_the_newest_only(scene: Scene) -> None:
    for _ in range(3):
        scene.github.answer(503, {"message": "unavailable"})
    build = scene.push()
    eventually(lambda: len(scene.github.requests) >= 4)
    assert eventually(scene.said).state.value == "pending"
    scene.save(build, state=BuildState.FAILED, phase=Phase.DONE)
    eventually(lambda: scene.said().settled)
    assert [one.json["state"] for one in scene.github.requests] == ["pending"] * 4 + ["failure"]


def test_what_github_refuses_is_not_tried_again(scene: Scene) -> None:
    scene.github.answer(404, {"message": "Not Found"})
    build = scene.push()
    said = eventually(scene.said)
    assert said.settled and "access_token" in said.refusal
    assert "webhook.status_refused" in scene.types
    scene.save(build, state=BuildState.FAILED, phase=Phase.DONE)
    scene.push("b" * 40, guid="g-2")  # answered after whatever came of the first
    eventually(lambda: scene.said("b" * 40))
    assert [one.path.rpartition("/")[2] for one in scene.github.requests] == [SHA, "b" * 40]


def test_what_was_not_said_before_the_end_is_said_after_the_next_start(scene: Scene) -> None:
    scene.end()
    build = scene.push()
    build = scene.save(build, state=BuildState.RUNNING, phase=Phase.BUILDING, commit=_commit(SHA))
    scene.run(scene.deploy(build), status=Status.RUNNING, ever_ready=True)
    scene.begin()
    assert scene.told(1) == [(SHA, "success")]
    scene.end()
    scene.begin()
    scene.push("b" * 40, guid="g-2")
    assert scene.told(2)[-1] == ("b" * 40, "pending")  # and nothing was said twice


def test_a_commit_that_was_overtaken_is_settled(scene: Scene) -> None:
    newer = "b" * 40
    build = scene.push()
    assert scene.told(1) == [(SHA, "pending")]
    scene.save(build, state=BuildState.RUNNING, phase=Phase.BUILDING, commit=_commit(newer))
    eventually(lambda: scene.said(newer))
    assert {(commit, state) for commit, state in scene.told(3)} == {
        (SHA, "pending"),
        (SHA, "error"),
        (newer, "pending"),
    }


def test_a_silent_github_holds_nobody_up(scene: Scene) -> None:
    """Whoever makes things happen only leaves word."""
    event = Event(1, clock.now(), _built(scene.push()))
    scene.github.answer(503, {}, {"Retry-After": "3600"})
    began = clock.monotonic()
    for _ in range(10_000):
        assert scene.reporter is not None
        scene.reporter.heard([event])
    assert clock.monotonic() - began < 2


def _commit(sha: str) -> Commit:
    return Commit(sha=sha, author="Ada", message="Say hello")
