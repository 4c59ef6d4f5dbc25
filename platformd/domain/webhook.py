"""What GitHub tells a platform and what an app makes of it: happenings, and the verdict over each of them.

Pure. `platformd.github` reads happenings out of deliveries, the store decides within the transaction that keeps them,
so that a verdict never rests on what was true a moment ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from platformd.domain.snapshot import Reason

BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
BUILDING_ACTIONS = frozenset({"opened", "reopened", "synchronize"})
CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """`ref` as git writes it ("refs/heads/main"), `sha` where it leads now; None when it was deleted."""

    ref: str
    sha: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """`ref` is the branch it comes from, `sha` that branch's head, `at` when the pull request last changed; `fork`
    tells whether the branch is in another repository."""

    action: str
    number: int
    ref: str
    sha: str
    fork: bool
    open: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The hook was set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Any event that nothing is done about."""

    name: str


Happening = Push | PullRequest | Ping | Other


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """`guid` is GitHub's own id of it, the same when it is sent again; `event` as its header names it."""

    guid: str
    event: str
    action: str | None
    happening: Happening


class Outcome(StrEnum):
    """`REMOVING` becomes `REMOVED` once nothing of the preview is left."""

    BUILD = "build"
    REMOVING = "removing"
    REMOVED = "removed"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is done. A build and a removal name their environment; a build its branch and the commit that was told.
    Whatever is ignored has a reason."""

    outcome: Outcome
    environment: str | None = None
    branch: str | None = None
    sha: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What an app's source says about deliveries."""

    branch: str
    environment: str
    auto_deploy: bool
    previews: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An environment as it is. `preview` tells whether it was made for a pull request, `held` whether a rollback made
    webhooks wait, `changed_at` when the pull request had changed that was last acted upon."""

    exists: bool = False
    preview: bool = False
    held: bool = False
    changed_at: datetime | None = None


def preview_slug(number: int) -> str:
    """The environment of a pull request."""
    return f"pr-{number}"


def place_of(happening: Happening, wishes: Wishes) -> str | None:
    """The environment that a happening is about; None when it is about none."""
    match happening:
        case Push():
            return wishes.environment
        case PullRequest(number=number):
            return preview_slug(number)
        case _:
            return None


def decide(happening: Happening, wishes: Wishes, place: Place) -> Verdict:
    """What an app does about `happening`; `place` is the environment that `place_of` names."""
    match happening:
        case Push():
            return _about_push(happening, wishes, place)
        case PullRequest(action=action) if action == CLOSED:
            return _about_closing(happening, place)
        case PullRequest():
            return _about_pull_request(happening, wishes, place)
        case Ping():
            return _ignored("PING", "the hook reaches platformd; there is nothing to deploy")
        case Other(name=name):
            return _ignored(
                "OTHER_EVENT", f"nothing is done about {name!r}, only about pushes and pull requests"
            )


def _about_push(push: Push, wishes: Wishes, place: Place) -> Verdict:
    if push.ref.startswith(TAGS):
        return _ignored("TAG", f"{push.ref.removeprefix(TAGS)!r} is a tag; branches are deployed")
    branch = push.ref.removeprefix(BRANCHES)
    if branch != wishes.branch:
        return _ignored("OTHER_BRANCH", f"the branch {branch!r} is not {wishes.branch!r}, which is deployed")
    if push.sha is None:
        return _ignored("DELETED", f"the branch {branch!r} was deleted; what runs goes on")
    if not wishes.auto_deploy:
        return _ignored("AUTO_DEPLOY_OFF", "auto_deploy of the source is off; deploy with deploy/trigger")
    if place.held:
        return _held(wishes.environment)
    return Verdict(outcome=Outcome.BUILD, environment=wishes.environment, branch=branch, sha=push.sha)


def _about_pull_request(request: PullRequest, wishes: Wishes, place: Place) -> Verdict:
    slug = preview_slug(request.number)
    if request.action not in BUILDING_ACTIONS:
        return _ignored("OTHER_ACTION", f"a pull request that was {request.action} changes no preview")
    if request.fork:
        return _ignored("FORK", "the pull request comes from a fork; code from there is never built here")
    if not wishes.previews:
        return _ignored("PREVIEWS_OFF", "previews of the source are off")
    if not request.open or _is_outdated(request, place):
        return _ignored(
            "OUTDATED", f"pull request {request.number} has changed since; a later delivery tells how"
        )
    if place.exists and not place.preview:
        return _ignored("ENVIRONMENT_TAKEN", f"the environment {slug!r} was not made for a pull request")
    if place.held:
        return _held(slug)
    return Verdict(outcome=Outcome.BUILD, environment=slug, branch=request.ref, sha=request.sha)


def _about_closing(request: PullRequest, place: Place) -> Verdict:
    """Whatever the source says by now: what was made for a pull request ends with it."""
    if not place.preview:
        return _ignored("NO_PREVIEW", f"there is no preview of pull request {request.number}")
    if _is_outdated(request, place):
        return _ignored(
            "OUTDATED", f"pull request {request.number} has changed since; a later delivery tells how"
        )
    return Verdict(outcome=Outcome.REMOVING, environment=preview_slug(request.number))


def _is_outdated(request: PullRequest, place: Place) -> bool:
    """Deliveries overtake each other, and old ones may be sent again by hand."""
    return place.changed_at is not None and request.at < place.changed_at


def _held(slug: str) -> Verdict:
    return _ignored(
        "HELD",
        f"{slug!r} was rolled back and waits: release it by POST …/environments/{slug}/release, then push again",
    )


def _ignored(code: str, message: str) -> Verdict:
    return Verdict(outcome=Outcome.IGNORED, reason=Reason(code=code, message=message))
