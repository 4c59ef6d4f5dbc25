"""Sources and builds: what is kept of them, and what a build that has succeeded is good for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from platformd.domain.build.orders import DeployBuild, ForgetBuilds, RequestBuild, SaveBuild, Wanted
from platformd.domain.build.state import Build, BuildState, Origin, Phase
from platformd.domain.configuration import BeginRemoval, FinishRemoval
from platformd.domain.deployment.state import Phase as DeploymentPhase
from platformd.domain.deployment.state import Status
from platformd.domain.operations import ClaimCurrent, RollBack, SaveDeployment
from platformd.domain.source import RemoveSource, SetSource
from platformd.domain.spec import DeploymentSpec
from platformd.errors import Conflict, Invalid, NotFound, PlatformError
from platformd.store import building
from tests.store.samples import (
    AT,
    DOMAIN,
    commit_of,
    done,
    make_app,
    make_artifact,
    make_build,
    make_deployment,
    make_source,
    raised,
    source_of,
)

SHA = "0123456789abcdef0123456789abcdef01234567"


def refusal(store, operation) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        done(store.commit(operation))
    return caught.value


def test_a_source_is_found_by_its_app_and_by_its_repository_in_any_case(store):
    app, other = make_app(store), make_app(store, "other")
    source = make_source(store, app.id, webhook_secret="sealed")
    make_source(store, other.id, repository="octo/elsewhere")
    assert building.source_of(store.reader, app.id) == source
    assert building.sources_naming(store.reader, "OCTO/hello") == [source]
    assert building.source_of(store.reader, "nobody") is None


def test_a_secret_stays_when_it_is_kept_and_goes_when_it_is_not(store):
    app = make_app(store)
    make_source(store, app.id, webhook_secret="one", access_token="two")
    wanted = source_of(app.id, branch="trunk")
    after = done(store.commit(SetSource(source=wanted, kept=frozenset({"webhook_secret"}), revision=1)))
    assert (after.webhook_secret, after.access_token, after.branch) == ("one", None, "trunk")
    assert after.revision == 2
    assert refusal(store, SetSource(source=wanted, revision=1)).code == "REVISION_MISMATCH"
    kept = refusal(store, SetSource(source=wanted, kept=frozenset({"ssh_key"})))
    assert isinstance(kept, Invalid)
    assert kept.faults[0].pointer == "/ssh_key"


def test_a_removed_source_is_gone(store):
    app = make_app(store)
    make_source(store, app.id)
    done(store.commit(RemoveSource(app_id=app.id)))
    assert building.source_of(store.reader, app.id) is None
    assert refusal(store, RemoveSource(app_id=app.id)).code == "SOURCE_NOT_FOUND"
    wanted = Wanted(app_id=app.id, environment="production", origin=Origin.TRIGGER)
    request = RequestBuild(wanted=wanted, timeout_secs=1, at=AT)
    assert refusal(store, request).code == "SOURCE_NOT_CONFIGURED"
    assert isinstance(refusal(store, replace(request, wanted=replace(wanted, app_id="no"))), NotFound)


def test_a_build_takes_the_recipe_that_holds_now(store):
    app = make_app(store)
    build = make_build(store, app.id)
    make_source(store, app.id, repository="octo/other", branch="next")
    assert (build.repository, build.branch, build.recipe.command) == ("octo/Hello", "main", "make")
    assert make_build(store, app.id).branch == "next"
    assert make_build(store, app.id, ref=SHA).branch is None
    assert store.build(build.id) == build
    assert build in building.live_builds(store.reader)


def test_a_webhook_supersedes_what_webhooks_have_queued_for_the_same_place(store):
    app = make_app(store)
    old = make_build(store, app.id, origin=Origin.WEBHOOK)
    make_build(store, app.id, origin=Origin.TRIGGER)
    make_build(store, app.id, origin=Origin.WEBHOOK, branch="other")
    make_build(store, app.id, origin=Origin.WEBHOOK, environment="production")
    running = replace(make_build(store, app.id, origin=Origin.WEBHOOK), state=BuildState.RUNNING)
    done(store.commit(SaveBuild(running)))
    new = make_build(store, app.id, origin=Origin.WEBHOOK, at=AT + timedelta(seconds=1))
    assert building.superseded_by(store.reader, new) == [old.id]


def succeeded(store, app_id: str, **rest) -> Build:
    build = make_build(store, app_id, **rest)
    made = replace(
        build,
        state=BuildState.SUCCEEDED,
        phase=Phase.DEPLOYING,
        commit=commit_of(SHA),
        artifact_id=make_artifact(store).id,
    )
    return done(store.commit(SaveBuild(made)))


def delivery(build: Build) -> DeployBuild:
    return DeployBuild(build=build, domain=DOMAIN, at=AT, steady=AT)


def test_a_build_that_deploys_makes_one_deployment_however_often_it_is_told(store):
    build = succeeded(store, make_app(store).id, spec=DeploymentSpec())
    first, second = (done(store.commit(delivery(build))) for _ in range(2))
    assert first.made.spec.artifact_id == build.artifact_id
    assert (first.made.commit, first.made.identity.sha) == (build.commit, SHA[:8])
    assert second.made is None
    assert second.build.deployment_id == first.made.id
    assert store.build(build.id).phase is Phase.DONE
    assert len(list(store.deployments())) == 1


def test_a_build_for_nobody_finds_the_newest_that_waits(store):
    app = make_app(store)
    make_deployment(store, app.id)
    waiting = make_deployment(store, app.id)
    make_deployment(store, app.id, "production")
    assert waiting.phase is DeploymentPhase.WAITING_FOR_BUILD
    assert done(store.commit(delivery(succeeded(store, app.id)))).build.deployment_id == waiting.id


def test_a_build_for_nobody_leaves_alone_what_has_a_build_of_its_own(store):
    app = make_app(store)
    waiting = make_deployment(store, app.id)
    make_build(store, app.id, deployment_id=waiting.id)
    assert done(store.commit(delivery(succeeded(store, app.id)))).build.deployment_id is None


def test_a_webhook_does_not_deploy_where_a_rollback_holds(store):
    app = make_app(store)
    for _ in range(2):
        made = make_deployment(store, app.id, spec=DeploymentSpec(artifact_id=make_artifact(store).id))
        done(store.commit(SaveDeployment(raised(made, status=Status.RUNNING, ever_ready=True))))
    claim = ClaimCurrent(deployment_id=made.id, app_id=app.id, environment="development", version=2)
    done(store.commit(claim))
    done(store.commit(RollBack(app_id=app.id, environment="development", domain=DOMAIN, at=AT, steady=AT)))
    pushed = succeeded(store, app.id, origin=Origin.WEBHOOK, spec=DeploymentSpec())
    refused = refusal(store, delivery(pushed))
    assert isinstance(refused, Conflict)
    assert refused.code == "ENVIRONMENT_HELD"
    asked = succeeded(store, app.id, origin=Origin.TRIGGER, spec=DeploymentSpec())
    assert done(store.commit(delivery(asked))).made is not None


def test_a_good_build_is_found_by_branch_and_by_commit(store):
    app = make_app(store)
    build = succeeded(store, app.id)
    for ref in ("main", SHA, SHA[:8]):
        assert building.last_good_build(store.reader, app.id, ref) == build
    assert building.last_good_build(store.reader, app.id, "elsewhere") is None


def test_a_commit_is_built_already_only_if_the_newest_good_build_has_deployed_it(store):
    app = make_app(store)
    build = done(store.commit(delivery(succeeded(store, app.id, spec=DeploymentSpec())))).build
    again = make_build(store, app.id, origin=Origin.WEBHOOK)
    assert building.built_already(store.reader, again, SHA) == build
    assert building.built_already(store.reader, again, "f" * 40) is None
    assert building.built_already(store.reader, replace(again, environment="production"), SHA) is None
    other_way = replace(again, recipe=replace(again.recipe, command="make all"))
    assert building.built_already(store.reader, other_way, SHA) is None
    succeeded(store, app.id, at=AT + timedelta(seconds=1))  # newer, and deployed nowhere
    assert building.built_already(store.reader, again, SHA) is None


def test_a_commit_is_built_again_once_something_else_stands_or_it_came_to_harm(store):
    app = make_app(store)
    made = done(store.commit(delivery(succeeded(store, app.id, spec=DeploymentSpec())))).made
    again = make_build(store, app.id, origin=Origin.WEBHOOK)
    assert building.built_already(store.reader, again, SHA) is not None
    make_deployment(store, app.id, "production")
    assert building.built_already(store.reader, again, SHA) is not None
    done(store.commit(SaveDeployment(raised(made, status=Status.FAILED))))
    assert building.built_already(store.reader, again, SHA) is None
    done(store.commit(SaveDeployment(raised(made, status=Status.RUNNING))))
    assert building.built_already(store.reader, again, SHA) is not None
    make_deployment(store, app.id)  # as a rollback does
    assert building.built_already(store.reader, again, SHA) is None


def test_old_builds_go_once_nothing_of_them_runs_and_their_deployment_is_gone(store):
    app = make_app(store)
    deployed = done(store.commit(delivery(succeeded(store, app.id, spec=DeploymentSpec())))).build
    alone = done(store.commit(delivery(succeeded(store, app.id)))).build
    queued = make_build(store, app.id)
    later = AT + timedelta(days=1)
    assert building.old_builds(store.reader, AT, 10) == []
    assert building.old_builds(store.reader, later, 10) == [alone.id]
    assert done(store.commit(ForgetBuilds([alone.id, queued.id]))) == 1
    assert store.build(alone.id) is None
    assert [store.build(build.id) for build in (deployed, queued)] == [deployed, queued]


def test_the_builds_of_an_app_go_with_it(store):
    app = make_app(store)
    build = make_build(store, app.id)
    done(store.commit(BeginRemoval(app_id=app.id, at=AT)))
    done(store.commit(FinishRemoval(app_id=app.id)))
    assert store.build(build.id) is None
    assert building.source_of(store.reader, app.id) is None
