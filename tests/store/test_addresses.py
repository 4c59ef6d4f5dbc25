"""Whom an environment's address leads to, and hostnames under another domain."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from platformd.domain.deployment.state import Deployment, Phase, Status
from platformd.domain.operations import AdoptDomain, ClaimCurrent, ReleaseCurrent, SaveDeployment
from platformd.errors import NotFound
from platformd.store import Current
from tests.store.samples import commit_of, done, make_app, make_deployment, raised


def claim(deployment: Deployment) -> ClaimCurrent:
    identity = deployment.identity
    return ClaimCurrent(
        deployment_id=identity.id,
        app_id=identity.app_id,
        environment=identity.environment,
        version=identity.version,
    )


def release(deployment: Deployment) -> ReleaseCurrent:
    identity = deployment.identity
    return ReleaseCurrent(deployment_id=identity.id, app_id=identity.app_id, environment=identity.environment)


def test_a_newer_version_takes_the_address_and_an_older_one_does_not(store):
    app = make_app(store)
    one, two, three = (make_deployment(store, app.id) for _ in range(3))
    first = done(store.commit(claim(two)))
    assert (first.won, first.current, first.previous, first.older_pending) == (True, two.id, None, (one.id,))
    lost = done(store.commit(claim(one)))
    assert (lost.won, lost.current, lost.current_version) == (False, two.id, 2)
    again = done(store.commit(claim(two)))
    assert (again.won, again.previous) == (True, two.id)
    done(store.commit(SaveDeployment(raised(one, status=Status.CANCELLED, phase=Phase.DONE))))
    newest = done(store.commit(claim(three)))
    assert (newest.won, newest.previous, newest.older_pending) == (True, two.id, (two.id,))
    assert store.current(app.id, "development") == Current(three.id, 3)
    assert store.current(app.id, "production") == Current(None, None)


def test_a_released_address_is_not_taken_by_anything_older(store):
    app = make_app(store)
    one, two, three = (make_deployment(store, app.id) for _ in range(3))
    done(store.commit(claim(two)))
    assert done(store.commit(release(one))) is False
    assert done(store.commit(release(two))) is True
    assert store.current(app.id, "development") == Current(None, 2)
    lost = done(store.commit(claim(one)))
    assert (lost.won, lost.current, lost.current_version) == (False, None, 2)
    assert done(store.commit(claim(three))).won


def test_claims_of_an_unknown_environment_are_refused(store):
    deployment = make_deployment(store, make_app(store).id)
    with pytest.raises(NotFound) as caught:
        done(store.commit(replace(claim(deployment), environment="nowhere")))
    assert caught.value.code == "ENVIRONMENT_NOT_FOUND"


def test_fifty_parallel_claims_leave_the_newest(file_store):
    app = make_app(file_store)
    deployments = [make_deployment(file_store, app.id) for _ in range(50)]
    barrier = threading.Barrier(50)
    outcomes = {}

    def run(deployment: Deployment) -> None:
        barrier.wait(20)
        outcomes[deployment.identity.version] = done(file_store.commit(claim(deployment)))

    threads = [threading.Thread(target=run, args=(deployment,)) for deployment in deployments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file_store.current(app.id, "development") == Current(deployments[-1].id, 50)
    assert outcomes[50].won
    for version, outcome in outcomes.items():
        assert outcome.won == (outcome.current_version == version)
    winners = sorted(version for version, outcome in outcomes.items() if outcome.won)
    followed = [outcomes[version].previous for version in winners]
    assert followed == [None, *(deployments[version - 1].id for version in winners[:-1])]


def test_another_domain_reaches_what_is_there_and_the_old_one_still_does(store):
    app = make_app(store)
    deployment = make_deployment(store, app.id, commit=commit_of("abcdef01"))
    before = {route.hostname for route in store.routes()}
    assert done(store.commit(AdoptDomain(domain="example.com"))) == 3
    assert done(store.commit(AdoptDomain(domain="example.com"))) == 0
    after = {route.hostname: route.deployment_id for route in store.routes()}
    assert before < set(after)
    assert after["web-abcdef01-development.example.com"] == deployment.id
