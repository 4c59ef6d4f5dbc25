"""Many writers at once: each object ends as its owner last said, and its notices come in the owner's order."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from dataclasses import replace

import psutil
import pytest

from platformd.domain.deployment.state import Deployment
from platformd.domain.operations import SaveDeployment
from platformd.store.connection import FILE_NAME
from platformd.store.store import Store
from tests.store.samples import done, make_app, make_deployment, notice
from tests.support import eventually

OWNERS = 8
CHANGES = 400


class Owner(threading.Thread):
    """Changes its own deployments as an actor does: facts saved behind, commands waited for."""

    def __init__(self, store, deployments: list[Deployment], seed: int) -> None:
        super().__init__()
        self.store = store
        self.deployments = deployments
        self.chance = random.Random(seed)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for _ in range(CHANGES):
                self.change(self.chance.randrange(len(self.deployments)))
        except BaseException as failure:
            self.failure = failure

    def change(self, n: int) -> None:
        state = replace(self.deployments[n], revision=self.deployments[n].revision + 1)
        self.deployments[n] = state
        told = [notice(f"{state.id} {state.revision}", state)]
        if self.chance.random() < 0.7:
            self.store.save_behind(state, told)
        else:
            assert done(self.store.commit(SaveDeployment(state), lambda _: told)) == state
        assert self.store.deployment(state.id) == state


@pytest.mark.parametrize("seed", [1, 2])
def test_every_object_ends_as_its_owner_last_said(store, heard, seed):
    app = make_app(store)
    owners = [
        Owner(store, [make_deployment(store, app.id) for _ in range(3)], seed * 100 + n)
        for n in range(OWNERS)
    ]
    for owner in owners:
        owner.start()
    for owner in owners:
        owner.join()
    assert [owner.failure for owner in owners] == [None] * OWNERS
    last = [deployment for owner in owners for deployment in owner.deployments]
    eventually(lambda: len(heard.types) == OWNERS * CHANGES)
    assert {deployment.id: deployment.revision for deployment in store.reader.all(Deployment)} == {
        deployment.id: deployment.revision for deployment in last
    }
    revisions = defaultdict(list)
    for type in heard.types:
        id, revision = type.split()
        revisions[id].append(int(revision))
    assert all(seen == list(range(2, len(seen) + 2)) for seen in revisions.values())


def test_threads_that_read_leave_no_connections_behind(tmp_path):
    """One after the other they all use the same."""
    store = Store.open(tmp_path)
    try:
        for _ in range(20):
            reading = threading.Thread(target=store.reader.awake_deployments)
            reading.start()
            reading.join()
        opened = [file.path for file in psutil.Process().open_files()]
        assert opened.count(str(tmp_path / FILE_NAME)) == 2, "the writer's and one for reading"
    finally:
        store.close()
