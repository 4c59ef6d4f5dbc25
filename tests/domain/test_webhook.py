"""Verdicts: what an app makes of what GitHub tells."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from platformd.domain.webhook import (
    Happening,
    Other,
    Outcome,
    Ping,
    Place,
    PullRequest,
    Push,
    Verdict,
    Wishes,
    decide,
    place_of,
)

SHA = "a" * 40
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WISHES = Wishes(branch="main", environment="staging", auto_deploy=True, previews=True)
PUSH = Push(ref="refs/heads/main", sha=SHA)
REQUEST = PullRequest(action="opened", number=7, ref="topic", sha=SHA, fork=False, open=True, at=NOW)
PREVIEW = Place(exists=True, preview=True, changed_at=NOW)
HELD = Place(exists=True, held=True)


def test_a_push_to_the_branch_is_built_into_the_sources_environment() -> None:
    assert decide(PUSH, WISHES, Place(exists=True)) == Verdict(
        outcome=Outcome.BUILD, environment="staging", branch="main", sha=SHA
    )


@pytest.mark.parametrize("action", ["opened", "reopened", "synchronize"])
@pytest.mark.parametrize("place", [Place(), PREVIEW])
def test_a_pull_request_is_built_into_an_environment_of_its_own(action: str, place: Place) -> None:
    assert decide(replace(REQUEST, action=action), WISHES, place) == Verdict(
        outcome=Outcome.BUILD, environment="pr-7", branch="topic", sha=SHA
    )


@pytest.mark.parametrize("wishes", [WISHES, replace(WISHES, previews=False, auto_deploy=False)])
@pytest.mark.parametrize("fork", [False, True])
def test_a_closed_pull_request_ends_its_preview_whatever_the_source_says_by_now(
    wishes: Wishes, fork: bool
) -> None:
    closed = replace(REQUEST, action="closed", open=False, fork=fork)
    assert decide(closed, wishes, PREVIEW) == Verdict(outcome=Outcome.REMOVING, environment="pr-7")


@pytest.mark.parametrize(
    ("happening", "wishes", "place", "code"),
    [
        (replace(PUSH, ref="refs/heads/other"), WISHES, Place(), "OTHER_BRANCH"),
        (replace(PUSH, ref="refs/heads/feature/main"), WISHES, Place(), "OTHER_BRANCH"),
        (replace(PUSH, ref="refs/heads/Main"), WISHES, Place(), "OTHER_BRANCH"),
        (replace(PUSH, ref="refs/tags/main"), WISHES, Place(), "TAG"),
        (replace(PUSH, sha=None), WISHES, Place(), "DELETED"),
        (PUSH, replace(WISHES, auto_deploy=False), Place(), "AUTO_DEPLOY_OFF"),
        (PUSH, WISHES, HELD, "HELD"),
        (REQUEST, replace(WISHES, previews=False), Place(), "PREVIEWS_OFF"),
        (replace(REQUEST, fork=True), WISHES, Place(), "FORK"),
        (replace(REQUEST, fork=True), WISHES, PREVIEW, "FORK"),
        (replace(REQUEST, action="labeled"), WISHES, Place(), "OTHER_ACTION"),
        (REQUEST, WISHES, Place(exists=True), "ENVIRONMENT_TAKEN"),
        (REQUEST, WISHES, replace(PREVIEW, held=True), "HELD"),
        (replace(REQUEST, open=False), WISHES, PREVIEW, "OUTDATED"),
        (replace(REQUEST, at=NOW - timedelta(seconds=1)), WISHES, Place(changed_at=NOW), "OUTDATED"),
        (
            replace(REQUEST, action="closed", open=False, at=NOW - timedelta(seconds=1)),
            WISHES,
            PREVIEW,
            "OUTDATED",
        ),
        (replace(REQUEST, action="closed", open=False), WISHES, Place(), "NO_PREVIEW"),
        (replace(REQUEST, action="closed", open=False), WISHES, Place(exists=True), "NO_PREVIEW"),
        (Ping(), WISHES, Place(), "PING"),
        (Other(name="issues"), WISHES, Place(), "OTHER_EVENT"),
    ],
)
def test_everything_else_is_ignored_with_its_reason(
    happening: Happening, wishes: Wishes, place: Place, code: str
) -> None:
    verdict = decide(happening, wishes, place)
    assert verdict.outcome is Outcome.IGNORED
    assert verdict.reason is not None
    assert verdict.reason.code == code
    assert verdict.environment is None and verdict.sha is None


def test_a_pull_request_needs_no_auto_deploy_and_a_push_no_previews() -> None:
    assert decide(REQUEST, replace(WISHES, auto_deploy=False), Place()).outcome is Outcome.BUILD
    assert decide(PUSH, replace(WISHES, previews=False), Place()).outcome is Outcome.BUILD


def test_a_happening_is_about_one_environment_or_none() -> None:
    assert place_of(PUSH, WISHES) == "staging"
    assert place_of(REQUEST, WISHES) == "pr-7"
    assert place_of(Ping(), WISHES) is None
    assert place_of(Other(name="issues"), WISHES) is None
