"""Deliveries: kept once, decided on what is true in that instant, carried out in the same piece."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from platformd.domain.build.orders import SaveBuild
from platformd.domain.build.state import Build, BuildState, Origin
from platformd.domain.build.state import Phase as BuildPhase
from platformd.domain.configuration import (
    BeginRemoval,
    ChangeVariables,
    CreateEnvironment,
    DeleteEnvironment,
    FinishRemoval,
)
from platformd.domain.deliveries import AcceptDelivery, Accepted, FinishPreview, ForgetDeliveries
from platformd.domain.deployment.state import Phase, Status
from platformd.domain.operations import ClaimCurrent, ReleaseHold, RollBack, SaveDeployment
from platformd.domain.source import RemoveSource
from platformd.domain.spec import DeploymentSpec
from platformd.domain.variables import Variable
from platformd.domain.webhook import Delivery, Happening, Other, Outcome, PullRequest, Push
from platformd.errors import Conflict, PlatformError
from platformd.store import Page, building
from platformd.store.webhooks import deliveries_of, still_closing, under_way
from tests.store.samples import AT, DOMAIN, done, make_app, make_deployment, make_source

SHA = "0123456789abcdef0123456789abcdef01234567"
SPEC = DeploymentSpec(replicas=2)
PUSH = Push(ref="refs/heads/main", sha=SHA)
REQUEST = PullRequest(action="opened", number=7, ref="topic", sha=SHA, fork=False, open=True, at=AT)
CLOSED = replace(REQUEST, action="closed", open=False, at=AT + timedelta(minutes=1))


def accept(
    store, *app_ids: str, happening: Happening = PUSH, guid: str = "g-1", at: datetime = AT
) -> Accepted:
    delivery = Delivery(guid=guid, event="push", action=None, happening=happening)
    return done(
        store.commit(
            AcceptDelivery(
                app_ids=app_ids,
                delivery=delivery,
                domain=DOMAIN,
                build_timeout_secs=900.0,
                specs=dict.fromkeys(app_ids, SPEC),
                at=at,
            )
        )
    )


def built(accepted: Accepted) -> list[Build]:
    return [asked.build for asked in accepted.builds]


def refused(store, operation: Any) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        done(store.commit(operation))
    return caught.value


def sourced(store, name: str = "web", **source: Any) -> str:
    app = make_app(store, name)
    make_source(store, app.id, previews=True, **source)
    return app.id


def variables_of(store, app_id: str, slug: str) -> dict[str, str | None]:
    return {name: one.value for name, one in _resolved(store, app_id, slug).items()}


def _resolved(store, app_id: str, slug: str) -> dict[str, Variable]:
    return dict(make_deployment(store, app_id, slug).resolved_env or {})


def set_variables(store, app_id: str, slug: str | None, **values: Variable) -> None:
    done(store.commit(ChangeVariables(app_id=app_id, environment=slug, change=values, keep=True, at=AT)))


def end(store, build) -> None:
    done(store.commit(SaveBuild(replace(build, state=BuildState.CANCELLED, phase=BuildPhase.DONE))))


def test_a_push_is_kept_together_with_the_build_it_asks_for(store):
    app_id = sourced(store)
    accepted = accept(store, app_id)
    (received,), (build,) = accepted.received, built(accepted)
    assert (received.outcome, received.build_id, received.known) == (Outcome.BUILD, build.id, False)
    assert (received.ref, received.commit_sha, received.environment) == (
        "refs/heads/main",
        SHA,
        "development",
    )
    assert (build.origin, build.branch, build.ref, build.spec) == (Origin.WEBHOOK, "main", None, SPEC)
    assert [found.id for found in building.live_builds(store.reader)] == [build.id]
    assert deliveries_of(store.reader, app_id, Page()) == ([received], 1)


def test_the_same_delivery_again_does_nothing(store):
    app_id = sourced(store)
    first = accept(store, app_id)
    again = accept(store, app_id, at=AT + timedelta(hours=1))
    assert again.builds == ()
    assert again.received == (replace(first.received[0], known=True),)
    assert len(building.live_builds(store.reader)) == 1


def test_each_app_has_its_own_verdict_and_one_may_know_what_another_does_not(store):
    one, other = sourced(store, "one"), sourced(store, "other", branch="trunk")
    accept(store, one)
    accepted = accept(store, one, other)
    assert [received.known for received in accepted.received] == [True, False]
    assert accepted.received[1].reason.code == "OTHER_BRANCH"


def test_an_app_whose_source_went_meanwhile_is_left_out(store):
    app_id = sourced(store)
    done(store.commit(RemoveSource(app_id=app_id)))
    assert accept(store, app_id) == Accepted(received=())


def test_what_cannot_be_built_is_kept_with_its_reason(store):
    app_id = sourced(store)
    done(store.commit(BeginRemoval(app_id=app_id, at=AT)))
    accepted = accept(store, app_id)
    assert accepted.builds == ()
    assert (accepted.received[0].outcome, accepted.received[0].reason.code) == (
        Outcome.IGNORED,
        "APP_NOT_FOUND",
    )


def test_a_held_environment_takes_nothing_until_it_is_released(store):
    app_id = sourced(store)
    for _ in range(2):
        deployment = make_deployment(store, app_id)
        claim = ClaimCurrent(
            deployment_id=deployment.id,
            app_id=app_id,
            environment="development",
            version=deployment.identity.version,
        )
        done(store.commit(SaveDeployment(replace(deployment, status=Status.RUNNING, ever_ready=True))))
        done(store.commit(claim))
    done(store.commit(RollBack(app_id=app_id, environment="development", domain=DOMAIN, at=AT, steady=AT)))
    assert accept(store, app_id).received[0].reason.code == "HELD"
    done(store.commit(ReleaseHold(app_id=app_id, environment="development")))
    assert accept(store, app_id, guid="g-2").received[0].outcome is Outcome.BUILD


def test_a_pull_request_gets_an_environment_with_plain_variables_and_no_secrets(store):
    app_id = sourced(store)
    plain, secret = Variable("shown"), Variable("sealed", secret=True)
    set_variables(store, app_id, None, APP=plain, APP_SECRET=secret)
    set_variables(store, app_id, "development", DEV=plain, DEV_SECRET=secret)
    set_variables(store, app_id, "production", PROD=plain)
    accepted = accept(store, app_id, happening=REQUEST)
    assert accepted.received[0].environment == built(accepted)[0].environment == "pr-7"
    assert built(accepted)[0].branch == "topic"
    assert variables_of(store, app_id, "pr-7") == {"APP": "shown", "DEV": "shown"}
    assert variables_of(store, app_id, "development").keys() == {"APP", "APP_SECRET", "DEV", "DEV_SECRET"}
    hosts = {route.hostname for route in store.routes(app_id) if route.environment == "pr-7"}
    assert "web-default-pr-7.apps.test" in hosts


def test_a_secret_that_is_set_for_a_preview_on_purpose_is_seen_there(store):
    app_id = sourced(store)
    accept(store, app_id, happening=REQUEST)
    set_variables(store, app_id, "pr-7", MINE=Variable("sealed", secret=True))
    assert variables_of(store, app_id, "pr-7") == {"MINE": "sealed"}


def test_old_values_of_a_preview_are_judged_without_secrets_too(store):
    app_id = sourced(store)
    accept(store, app_id, happening=REQUEST)
    set_variables(store, app_id, None, A=Variable("1"))
    made = make_deployment(store, app_id, "pr-7")
    secret = ChangeVariables(
        app_id=app_id, environment=None, change={"S": Variable("sealed", secret=True)}, keep=True, at=AT
    )
    assert [old.id for old in done(store.commit(secret)).old] == []
    plain = replace(secret, change={"A": Variable("2")})
    assert [old.id for old in done(store.commit(plain)).old] == [made.id]


def test_a_name_that_is_taken_is_the_reason_and_leaves_nothing_behind(store):
    app_id = sourced(store)
    make_app(store, "web-default-pr", "7")  # its address is the preview's
    accepted = accept(store, app_id, happening=REQUEST)
    assert (accepted.builds, accepted.received[0].reason.code) == ((), "HOSTNAME_TAKEN")
    assert "pr-7" not in store.reader.environments(app_id)


def test_an_environment_that_is_no_preview_is_never_taken_for_one(store):
    app_id = sourced(store)
    done(store.commit(CreateEnvironment(app_id=app_id, slug="pr-7", domain=DOMAIN, at=AT)))
    assert accept(store, app_id, happening=REQUEST).received[0].reason.code == "ENVIRONMENT_TAKEN"
    assert accept(store, app_id, happening=CLOSED, guid="g-2").received[0].reason.code == "NO_PREVIEW"
    assert "pr-7" in store.reader.environments(app_id)


def test_a_closed_preview_goes_once_nothing_in_it_is_left(store):
    app_id = sourced(store)
    (build,) = built(accept(store, app_id, happening=REQUEST))
    (closed,) = accept(store, app_id, happening=CLOSED, guid="g-2").received
    finish = FinishPreview(delivery_id=closed.id)
    assert closed.outcome is Outcome.REMOVING
    assert [found.id for found in under_way(store.reader)] == [closed.id]
    assert refused(store, finish).code == "ENVIRONMENT_IN_USE"
    end(store, build)
    deployment = make_deployment(store, app_id, "pr-7")
    assert refused(store, finish).code == "ENVIRONMENT_IN_USE"
    done(store.commit(SaveDeployment(replace(deployment, status=Status.CANCELLED, phase=Phase.DONE))))
    assert done(store.commit(finish)) == ("web-default-pr-7.apps.test",)
    assert "pr-7" not in store.reader.environments(app_id)
    assert not still_closing(store.reader, closed.id)
    assert under_way(store.reader) == []
    assert done(store.commit(finish)) is None


def test_a_pull_request_that_is_opened_again_keeps_its_preview(store):
    app_id = sourced(store)
    (build,) = built(accept(store, app_id, happening=REQUEST))
    (closed,) = accept(store, app_id, happening=CLOSED, guid="g-2").received
    again = replace(REQUEST, action="reopened", at=CLOSED.at)
    assert accept(store, app_id, happening=again, guid="g-3").received[0].outcome is Outcome.BUILD
    assert not still_closing(store.reader, closed.id)
    end(store, build)
    assert done(store.commit(FinishPreview(delivery_id=closed.id))) is None
    assert "pr-7" in store.reader.environments(app_id)
    (kept,) = [one for one in deliveries_of(store.reader, app_id, Page())[0] if one.id == closed.id]
    assert (kept.outcome, kept.reason.code) == (Outcome.REMOVED, "REOPENED")


def test_a_delivery_that_was_overtaken_brings_no_preview_back(store):
    app_id = sourced(store)
    (build,) = built(accept(store, app_id, happening=REQUEST))
    (closed,) = accept(store, app_id, happening=CLOSED, guid="g-2").received
    end(store, build)
    done(store.commit(FinishPreview(delivery_id=closed.id)))
    late = replace(REQUEST, action="synchronize", at=AT + timedelta(seconds=30))
    assert accept(store, app_id, happening=late, guid="g-3").received[0].reason.code == "OUTDATED"
    assert "pr-7" not in store.reader.environments(app_id)
    back = replace(REQUEST, action="reopened", at=AT + timedelta(hours=1))
    assert accept(store, app_id, happening=back, guid="g-4").received[0].outcome is Outcome.BUILD


def test_a_preview_that_somebody_removed_by_hand_is_removed(store):
    app_id = sourced(store)
    (build,) = built(accept(store, app_id, happening=REQUEST))
    end(store, build)
    (closed,) = accept(store, app_id, happening=CLOSED, guid="g-2").received
    done(store.commit(DeleteEnvironment(app_id=app_id, slug="pr-7")))
    assert done(store.commit(FinishPreview(delivery_id=closed.id))) is None
    assert under_way(store.reader) == []


def test_an_environment_is_not_deleted_under_a_build(store):
    app_id = sourced(store)
    accept(store, app_id, happening=REQUEST)
    refusal = refused(store, DeleteEnvironment(app_id=app_id, slug="pr-7"))
    assert isinstance(refusal, Conflict) and refusal.code == "ENVIRONMENT_IN_USE"


def test_deliveries_are_listed_by_when_they_came(store):
    app_id = sourced(store)
    for minute in range(5):
        accept(
            store,
            app_id,
            happening=Other(name="issues"),
            guid=f"g-{minute}",
            at=AT + timedelta(minutes=minute),
        )
    found, total = deliveries_of(store.reader, app_id, Page(page=2, page_size=2))
    assert ([one.guid for one in found], total) == (["g-2", "g-1"], 5)
    found, _ = deliveries_of(store.reader, app_id, Page(page_size=2, sort_order="asc"))
    assert [one.guid for one in found] == ["g-0", "g-1"]


def test_old_deliveries_are_forgotten_unless_something_is_to_be_done_for_them(store):
    app_id = sourced(store)
    (build,) = built(accept(store, app_id, happening=REQUEST))
    (closed,) = accept(store, app_id, happening=CLOSED, guid="g-2").received
    accept(store, app_id, guid="g-3", at=AT + timedelta(days=2))
    forget = ForgetDeliveries(before=AT + timedelta(days=1), most=10)
    assert done(store.commit(forget)) == 1
    assert done(store.commit(forget)) == 0
    assert {one.guid for one in deliveries_of(store.reader, app_id, Page())[0]} == {closed.guid, "g-3"}
    end(store, build)


def test_an_app_that_is_removed_takes_its_deliveries_along(store):
    app_id = sourced(store)
    end(store, built(accept(store, app_id))[0])
    done(store.commit(BeginRemoval(app_id=app_id, at=AT)))
    done(store.commit(FinishRemoval(app_id=app_id)))
    assert deliveries_of(store.reader, app_id, Page()) == ([], 0)
