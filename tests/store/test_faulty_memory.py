"""The switches of the memory store, which other rooms' tests rely on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import CreateDeployment, SaveDeployment
from platformd.errors import NoSpace, Unavailable
from tests.store.samples import creation, done, make_app, make_deployment


def test_full_refuses_commits_and_keeps_save_behinds(memory_store, heard):
    deployment = make_deployment(memory_store, make_app(memory_store).id)
    memory_store.full = True
    with pytest.raises(NoSpace):
        done(memory_store.commit(SaveDeployment(replace(deployment, revision=2))))
    fact = replace(deployment, revision=3)
    memory_store.save_behind(fact)
    assert not memory_store.is_saved(fact.id)
    assert memory_store.deployment(fact.id) == fact
    memory_store.full = False
    assert memory_store.reader.get(Deployment, fact.id) == fact


def test_held_commits_are_answered_when_released(memory_store):
    app = make_app(memory_store)
    memory_store.held = True
    future = memory_store.commit(creation(app.id))
    assert not future.done()
    assert not future.cancel()
    memory_store.release()
    assert done(future).identity.version == 1


def test_the_next_operation_of_a_type_can_be_refused(memory_store):
    app = make_app(memory_store)
    memory_store.refuse(CreateDeployment, Unavailable("not now"))
    with pytest.raises(Unavailable):
        make_deployment(memory_store, app.id)
    assert make_deployment(memory_store, app.id).identity.version == 1
