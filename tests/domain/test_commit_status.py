"""What is said beside a commit, as its builds and their deployments come along."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from platformd.domain.build.state import Build, BuildState, Origin, Phase
from platformd.domain.commit_status import Said, State, to_say
from platformd.domain.deployment.state import Deployment, Identity, Status
from platformd.domain.deployment.state import Phase as DeploymentPhase
from platformd.domain.snapshot import Commit, Reason
from platformd.domain.source import BuildKind, Recipe
from platformd.domain.spec import DeploymentSpec

SHA, NEWER = "a" * 40, "b" * 40
AT = datetime(2026, 11, 25, tzinfo=UTC)
QUEUED = Build(
    id="one",
    app_id="app",
    app_name="web",
    environment="production",
    origin=Origin.WEBHOOK,
    repository="octo/hello",
    branch="main",
    recipe=Recipe(kind=BuildKind.COMMAND, command="make", artifact_path="hello"),
    spec=DeploymentSpec(),
    timeout_secs=900.0,
    created_at=AT,
    updated_at=AT,
)
FETCHED = Commit(sha=SHA, author="Ada", message="Say hello")
RUNNING = replace(QUEUED, state=BuildState.RUNNING, phase=Phase.BUILDING, commit=FETCHED)
BUILT = replace(RUNNING, state=BuildState.SUCCEEDED, phase=Phase.DONE)
CANCELLED = replace(
    QUEUED,
    state=BuildState.CANCELLED,
    phase=Phase.DONE,
    reason=Reason(code="SUPERSEDED", message="a newer push came"),
)
PENDING = Deployment(
    identity=Identity(
        id="deployment",
        app_id="app",
        app_name="web",
        namespace="default",
        environment="production",
        version=3,
        sha="aaaaaaaa",
        preview_host="web-aaaaaaaa-production.localhost",
        created_at=AT,
    ),
    spec=DeploymentSpec(),
    status=Status.PENDING,
    phase=DeploymentPhase.STARTING,
    full=1,
    target=1,
    updated_at=AT,
)
CRASHED = Reason(code="CRASHED", message="it exited with 1")


def said(*attempts: tuple[Build, Deployment | None]) -> tuple[State, str]:
    saying = to_say(SHA, attempts, None)
    assert saying is not None
    return saying.state, saying.description


@pytest.mark.parametrize(
    ("build", "deployment", "state", "says"),
    [
        (QUEUED, None, State.PENDING, "Waiting"),
        (replace(QUEUED, state=BuildState.RUNNING), None, State.PENDING, "Being built"),
        (RUNNING, None, State.PENDING, "Being built"),
        (
            replace(RUNNING, state=BuildState.FAILED, reason=CRASHED),
            None,
            State.FAILURE,
            "CRASHED: it exited",
        ),
        (CANCELLED, None, State.ERROR, "SUPERSEDED: a newer push came"),
        (replace(BUILT, phase=Phase.DEPLOYING), None, State.PENDING, "Being deployed"),
        (replace(BUILT, spec=None), None, State.SUCCESS, "Built"),
        (BUILT, None, State.FAILURE, "could not be deployed"),
        (BUILT, PENDING, State.PENDING, "Version 3 is starting"),
        (BUILT, replace(PENDING, status=Status.RUNNING), State.SUCCESS, "deployed to production"),
        (BUILT, replace(PENDING, status=Status.SUCCEEDED), State.SUCCESS, "deployed to production"),
        (BUILT, replace(PENDING, status=Status.FAILED, reason=CRASHED), State.FAILURE, "CRASHED"),
        (BUILT, replace(PENDING, status=Status.FAILED, ever_ready=True), State.SUCCESS, "deployed"),
        (BUILT, replace(PENDING, status=Status.CANCELLED), State.ERROR, "cancelled"),
        (BUILT, replace(PENDING, status=Status.CANCELLED, ever_ready=True), State.SUCCESS, "deployed"),
    ],
)
def test_each_state_has_its_word(build: Build, deployment: Any, state: State, says: str) -> None:
    found, description = said((build, deployment))
    assert found is state
    assert says in description


def test_what_is_deployed_is_to_be_seen_somewhere() -> None:
    saying = to_say(SHA, [(BUILT, replace(PENDING, status=Status.RUNNING))], None)
    assert saying is not None and saying.preview_host == "web-aaaaaaaa-production.localhost"


def test_a_commit_that_was_overtaken_before_its_build_began_is_superseded() -> None:
    newer = replace(RUNNING, commit=replace(FETCHED, sha=NEWER))
    assert said((newer, None)) == (
        State.ERROR,
        "Superseded by bbbbbbbb, which was there when the build began",
    )


def test_a_build_that_was_given_up_says_nothing_where_another_is_about_the_same_commit() -> None:
    assert said((CANCELLED, None), (RUNNING, None))[0] is State.PENDING
    other = replace(RUNNING, commit=replace(FETCHED, sha=NEWER))
    assert said((other, None), (BUILT, replace(PENDING, status=Status.RUNNING)))[0] is State.SUCCESS


def test_nothing_is_said_of_what_nobody_builds() -> None:
    assert to_say(SHA, [], None) is None


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (Said(build_id="one", state=State.PENDING, settled=False), False),
        (Said(build_id="one", state=State.SUCCESS, settled=True), False),
        (Said(build_id="one", state=State.PENDING, settled=True, refusal="no access"), False),
        (Said(build_id="another", state=State.SUCCESS, settled=True), True),
    ],
)
def test_nothing_is_said_twice_of_a_build(before: Said, again: bool) -> None:
    assert (to_say(SHA, [(RUNNING, None)], before) is not None) is again


def test_what_comes_after_pending_is_said() -> None:
    pending = Said(build_id="one", state=State.PENDING, settled=False)
    saying = to_say(SHA, [(replace(RUNNING, state=BuildState.FAILED), None)], pending)
    assert saying is not None and saying.settled
