"""Which version a rollback goes to, what a promotion begins as, and which versions are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platformd.domain.deployment.state import Deployment, Goal, Phase, Status
from platformd.domain.operations import ClaimCurrent, ReleaseHold, RollBack, SaveDeployment
from platformd.domain.spec import DeploymentSpec, Resources
from platformd.errors import Conflict, NotFound
from tests.store.samples import AT, DOMAIN, done, make_app, make_artifact, make_deployment, raised


@pytest.fixture
def app(store):
    return make_app(store)


@pytest.fixture
def spec(store):
    return DeploymentSpec(artifact_id=make_artifact(store).id)


def ready(store, deployment: Deployment, phase: Phase = Phase.READY, **changes) -> Deployment:
    """It has been ready, and its environment's address leads to it."""
    changes = {"status": Status.RUNNING, "phase": phase, "ever_ready": True, **changes}
    if phase is Phase.ASLEEP:
        changes["goal"] = Goal.ASLEEP
    after = done(store.commit(SaveDeployment(raised(deployment, **changes))))
    done(store.commit(claim(after)))
    return after


def claim(deployment: Deployment, keep: int = 10) -> ClaimCurrent:
    identity = deployment.identity
    return ClaimCurrent(
        deployment_id=identity.id,
        app_id=identity.app_id,
        environment=identity.environment,
        version=identity.version,
        keep=keep,
    )


def back(store, app, environment: str = "development") -> Deployment:
    operation = RollBack(app_id=app.id, environment=environment, domain=DOMAIN, at=AT, steady=AT)
    return done(store.commit(operation))


def held(store, app) -> bool:
    [(at,)] = store.reader.rows(
        "SELECT held_at FROM environments WHERE app_id = ? AND slug = 'development'", app.id
    )
    return at is not None


def versions(store, app, spec, count: int) -> list[Deployment]:
    """Each with a specification of its own, each ready in turn."""
    specs = [replace(spec, resources=Resources(cpu=f"{number + 1}00m")) for number in range(count)]
    return [ready(store, make_deployment(store, app.id, spec=each)) for each in specs]


def test_each_rollback_goes_one_further_back(store, app, spec):
    one, two, _ = versions(store, app, spec, 3)
    fourth = back(store, app)
    assert (fourth.spec, fourth.promoted_from, fourth.identity.version) == (two.spec, two.id, 4)
    assert fourth.status is Status.PENDING
    ready(store, fourth)
    fifth = back(store, app)
    assert fifth.spec == one.spec, "the fourth was the second once more"
    ready(store, fifth)
    with pytest.raises(Conflict) as refused:
        back(store, app)
    assert refused.value.code == "NOTHING_TO_ROLL_BACK_TO"


def test_rolled_back_again_before_the_first_one_is_ready(store, app, spec):
    one, *_ = versions(store, app, spec, 3)
    back(store, app)
    assert back(store, app).spec == one.spec


def test_after_a_good_new_version_the_way_back_is_to_what_ran_before(store, app, spec):
    _, two, _ = versions(store, app, spec, 3)
    ready(store, back(store, app))
    ready(store, make_deployment(store, app.id, spec=spec))
    assert back(store, app).spec == two.spec


def test_what_was_never_ready_is_passed_over(store, app, spec):
    one = ready(store, make_deployment(store, app.id, spec=replace(spec, idle_timeout_secs=7)))
    failed = make_deployment(store, app.id, spec=spec)
    done(store.commit(SaveDeployment(raised(failed, status=Status.FAILED, phase=Phase.DONE))))
    ready(store, make_deployment(store, app.id, spec=spec))
    assert back(store, app).spec == one.spec


def test_a_rollback_holds_until_it_is_released(store, app, spec):
    versions(store, app, spec, 2)
    assert not held(store, app)
    back(store, app)
    assert held(store, app)
    operation = ReleaseHold(app_id=app.id, environment="development")
    assert done(store.commit(operation)) is True
    assert not held(store, app)
    assert done(store.commit(operation)) is False


def test_where_there_is_nothing_to_go_back_to(store, app, spec):
    for environment, error in (("development", Conflict), ("nowhere", NotFound)):
        with pytest.raises(error):
            back(store, app, environment)
    versions(store, app, spec, 1)
    with pytest.raises(Conflict):
        back(store, app)
    assert not held(store, app), "what was refused holds nothing"
    with pytest.raises(NotFound):
        done(store.commit(ReleaseHold(app_id=app.id, environment="nowhere")))


# ---- promotions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "current", "begins"),
    [
        (Phase.ASLEEP, None, Phase.ASLEEP),
        (Phase.READY, None, Phase.STARTING),
        (Phase.ASLEEP, Phase.READY, Phase.STARTING),
        (Phase.READY, Phase.ASLEEP, Phase.ASLEEP),
        (Phase.ASLEEP, Phase.ASLEEP, Phase.ASLEEP),
    ],
)
def test_a_promotion_to_where_nobody_is_awake_begins_asleep(store, app, spec, source, current, begins):
    origin = ready(store, make_deployment(store, app.id, spec=spec), source)
    if current is not None:
        ready(store, make_deployment(store, app.id, "production", spec=spec), current)
    made = make_deployment(store, app.id, "production", spec=spec, promoted_from=origin.id)
    assert made.phase is begins
    if begins is Phase.ASLEEP:
        assert (made.status, made.goal, made.progress_deadline) == (Status.RUNNING, Goal.ASLEEP, None)
        assert made.id in store.contested(), "the address is still to be led there, after a crash, too"


def test_what_was_never_ready_or_cannot_sleep_begins_awake(store, app, spec):
    unproven = ready(store, make_deployment(store, app.id, spec=spec), Phase.ASLEEP, ever_ready=False)
    proven = ready(store, make_deployment(store, app.id, spec=spec), Phase.ASLEEP)
    awake = replace(spec, cold_start_enabled=False)
    for source, wanted in ((unproven, spec), (proven, awake)):
        made = make_deployment(store, app.id, "production", spec=wanted, promoted_from=source.id)
        assert made.phase is Phase.STARTING


def test_a_promoted_image_means_what_it_meant(store, app):
    spec = replace(DeploymentSpec(), image="shop:1")
    source = ready(store, make_deployment(store, app.id, spec=spec), digests={"shop:1": "sha256:abc"})
    made = make_deployment(store, app.id, "production", spec=spec, promoted_from=source.id)
    assert made.image_digest == "sha256:abc"


# ---- kept versions --------------------------------------------------------------------------------------------


def test_superseded_versions_beyond_those_that_are_kept_are_retired(store, app, spec):
    one, two, three, four = (
        ready(store, make_deployment(store, app.id, spec=spec), Phase.ASLEEP) for _ in range(4)
    )
    elsewhere = ready(store, make_deployment(store, app.id, "production", spec=spec), Phase.ASLEEP)
    assert done(store.commit(claim(four, keep=2))).retired == (one.id,)
    assert done(store.commit(claim(four, keep=0))).retired == (three.id, two.id, one.id)
    assert done(store.commit(claim(one, keep=0))).retired == (), "a loser retires nobody"
    assert elsewhere.status is Status.RUNNING


def test_what_ends_by_itself_takes_nobodys_place(store, app, spec):
    one = ready(store, make_deployment(store, app.id, spec=spec), Phase.ASLEEP)
    ready(store, make_deployment(store, app.id, spec=replace(spec, cold_start_enabled=False)))
    newest = ready(store, make_deployment(store, app.id, spec=spec))
    assert done(store.commit(claim(newest, keep=1))).retired == ()
    assert done(store.commit(claim(newest, keep=0))).retired == (one.id,)
