"""Apps, artifacts and deployments come into being: stored first, announced by the commit, whoever leaves meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from platformd.domain.deployment.state import Phase, Status
from platformd.domain.operations import CreateDeployment
from platformd.domain.spec import DeploymentSpec
from platformd.errors import Conflict, Invalid, NoSpace, NotFound
from tests.actors.stage import Stage


def spec(stage: Stage, artifact_id: str | None = None) -> DeploymentSpec:
    return DeploymentSpec(artifact_id=artifact_id or stage.artifact)


async def create(stage: Stage, app_id: str | None = None, artifact_id: str | None = None) -> str:
    created = await stage.creations.create_deployment(
        app_id=app_id or stage.app.id, environment="development", spec=spec(stage, artifact_id)
    )
    return created.id


async def test_an_app_is_answered_once_its_addresses_are_known(stage: Stage) -> None:
    app = await stage.creations.create_app(name="Blog", namespace="team", description="x", labels={"a": "b"})
    assert (app.subdomain, app.description, app.labels) == ("blog-team", "x", {"a": "b"})
    assert stage.store.app(app.id) == app
    for host in ("blog-team.localhost", "blog-team-development.localhost"):
        assert stage.gateway.leads_to(host).status == 404
    with pytest.raises(Conflict) as taken:
        await stage.creations.create_app(name="blog", namespace="team", description=None, labels={})
    assert taken.value.code == "SUBDOMAIN_TAKEN"


async def test_an_artifact_is_announced_and_completed_once(stage: Stage) -> None:
    made = await stage.creations.create_artifact(name="shop", content_type="application/x-executable")
    with pytest.raises(Conflict) as early:
        await create(stage, artifact_id=made.id)
    assert early.value.code == "ARTIFACT_INCOMPLETE"
    complete = await stage.creations.complete_artifact(made.id, sha256="ab" * 32, size=3)
    assert (complete.sha256, complete.size, complete.uploaded_at) == ("ab" * 32, 3, stage.now)
    with pytest.raises(Conflict) as again:
        await stage.creations.complete_artifact(made.id, sha256="cd" * 32, size=4)
    assert again.value.code == "ARTIFACT_COMPLETE"
    assert stage.deployment(await create(stage, artifact_id=made.id)).phase is Phase.READY


async def test_a_deployment_is_answered_pending_and_has_begun(stage: Stage) -> None:
    answered = await stage.creations.create_deployment(
        app_id=stage.app.id, environment="staging", spec=spec(stage)
    )
    assert (answered.status, answered.identity.version, answered.identity.environment) == (
        Status.PENDING, 1, "staging",
    )  # fmt: skip
    assert stage.deployment(answered.id).phase is Phase.READY
    assert stage.gateway.leads_to("shop-default-staging.localhost") == answered.id
    first = next(notice for notice in stage.notices if notice.deployment_id == answered.id)
    assert first.type == "deployment.created"


async def test_what_cannot_be_created_leaves_nothing(stage: Stage) -> None:
    with pytest.raises(NotFound) as nowhere:
        await create(stage, app_id="no-such")
    with pytest.raises(Invalid) as nothing:
        await create(stage, artifact_id="no-such")
    assert nowhere.value.code == "APP_NOT_FOUND"
    assert nothing.value.faults[0].pointer == "/artifact_id"
    stage.store.full = True
    with pytest.raises(NoSpace):
        await create(stage)
    stage.store.full = False
    assert list(stage.store.deployments()) == []
    assert stage.directory.count() == 0
    assert stage.deployment(await create(stage)).identity.version == 1, "no version was used up"


async def test_nothing_begins_before_it_is_durable(stage: Stage) -> None:
    stage.store.held = True
    creating = asyncio.create_task(create(stage))
    await asyncio.sleep(0)
    assert stage.driver.calls == []
    assert not creating.done()
    stage.store.release()
    assert stage.deployment(await creating).phase is Phase.READY


async def test_a_creator_who_leaves_meanwhile_leaves_nothing_half_done(stage: Stage) -> None:
    stage.store.held = True
    creating = asyncio.create_task(create(stage))
    await asyncio.sleep(0)
    creating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await creating
    stage.store.release()
    (made,) = stage.store.deployments()
    assert stage.deployment(made.id).phase is Phase.READY
    assert stage.gateway.leads_to(made.identity.preview_host) == made.id


async def test_created_while_the_service_ends_it_begins_with_the_next_start(stage: Stage) -> None:
    stage.store.held = True
    creating = asyncio.create_task(create(stage))
    await asyncio.sleep(0)
    stage.directory.drop()
    stage.store.release()
    id = await creating
    assert stage.deployment(id).status is Status.PENDING
    stage.restart()
    assert stage.deployment(id).phase is Phase.READY


async def test_many_at_once_get_versions_without_gaps(stage: Stage) -> None:
    stage.store.held = True
    creating = [asyncio.create_task(create(stage)) for _ in range(20)]
    await asyncio.sleep(0)
    stage.store.refuse(CreateDeployment, NoSpace("full"))
    with pytest.raises(NoSpace):
        await create(stage)
    stage.store.release()
    ids = await asyncio.gather(*creating)
    assert sorted(stage.deployment(id).identity.version for id in ids) == list(range(1, 21))
    current = [id for id in ids if stage.deployment(id).current]
    assert [stage.deployment(id).identity.version for id in current] == [20]
