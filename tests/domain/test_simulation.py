"""Seeded random play: whatever happens, the invariants hold, and afterwards everything comes right.

`python -m tests.domain.simulation SEED STEPS` tells the story of a seed that fails.
"""

from __future__ import annotations

import itertools

import pytest

from platformd.domain import events
from platformd.domain.deployment import transitions as deployments
from platformd.domain.deployment.state import Phase
from tests.domain import shell
from tests.domain.simulation import Simulation

SEEDS = 300
STEPS = 200
BATCHES = 10


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_play_keeps_every_invariant_and_comes_right(batch: int) -> None:
    for seed in range(batch, SEEDS, BATCHES):
        simulation = Simulation(seed)
        try:
            simulation.play(STEPS)
            simulation.world.calm()
        except Exception as error:
            raise AssertionError(f"seed {seed}, {STEPS} steps: {error!r}") from error


# Too rare for so few games; `test_tables` tells a story of each.
RARE = {
    (Phase.WAKING, Phase.BACKING_OFF),
    (Phase.UPDATING, Phase.BACKING_OFF),
    (Phase.BACKING_OFF, Phase.WAKING),
    (Phase.BACKING_OFF, Phase.DONE),
    (Phase.STARTING, Phase.ASLEEP),
    (Phase.ASLEEP, Phase.READY),
    (Phase.ASLEEP, Phase.DRAINING),
    (Phase.BACKING_OFF, Phase.DRAINING),
    (Phase.WAITING_FOR_BUILD, Phase.ASLEEP),
    *itertools.product((Phase.BACKING_OFF, Phase.DRAINING), (Phase.READY, Phase.UPDATING)),
}


def test_every_arrow_of_the_drawing_is_taken() -> None:
    """A table that promises what never happens is as wrong as one that forgets something."""
    for seed in range(SEEDS, 2 * SEEDS):
        simulation = Simulation(seed)
        simulation.play(STEPS)
        simulation.world.calm()
    seen = {(before, after) for machine, _, before, after in shell.taken if machine == "deployment"}
    assert not arrows() - seen - RARE


def arrows() -> set[tuple[Phase, Phase]]:
    """Where the deployment's table says it can go. What `pulling` leads to is as for `starting`, and
    after a restart anything may."""
    return {
        (Phase(phase), Phase(target))
        for (phase, event), rule in deployments.TRANSITIONS.items()
        for target in rule.leads_to
        if event is not events.Recovered
        and phase != target
        and (phase != Phase.PULLING or target == Phase.STARTING)
    }
