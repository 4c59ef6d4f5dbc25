"""A deployment's image: being pulled, and what its name means from then on. Pure. Handlers of the transitions table."""

from __future__ import annotations

from collections.abc import Iterable

from platformd.domain import events
from platformd.domain.deployment.draft import DeploymentDraft
from platformd.domain.deployment.state import Deployment, Stage


def task_pulling(draft: DeploymentDraft, event: events.TaskPulling) -> None:
    member = draft.member(event.task_id)
    if member is not None and member.stage is Stage.STARTING:
        draft.stage(member, Stage.PULLING)


def image_pinned(draft: DeploymentDraft, event: events.ImagePinned) -> None:
    """The first answer counts: a tag that moves later changes nothing for this deployment."""
    digests = draft.state.digests
    draft.set(digests={event.image: event.digest, **digests})
    member = draft.member(event.task_id)
    if member is not None and member.stage is Stage.PULLING:
        draft.stage(member, Stage.STARTING)


def needed(deployments: Iterable[Deployment]) -> frozenset[str]:
    """What these may still be started from, a rollback's included: digests where they are known, else names."""
    found: set[str] = set()
    for each in deployments:
        found.update(each.digests.values())
        image = each.spec.image
        if image is not None and image not in each.digests:
            found.update((image, image.partition("@")[2]))
    return frozenset(found - {""})
