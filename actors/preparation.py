"""What would start the next task of a sleeping deployment, for drivers that can make it ready beforehand.

Called in a driver's threads; reads the deployment's row, writes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from actors.task import order_of
from actors.variables import opened, variables_of
from actors.world import World
from platformd import clock
from platformd.domain.deployment.state import Goal
from platformd.domain.effects import StartTask
from platformd.domain.task.transitions import new_task
from platformd.drivers.base import LaunchOrder


def next_order(world: World, deployment_id: str, slot: int, task_id: str) -> LaunchOrder | None:
    """None when no wake would start a task there. `SecretUnreadable` when the key does not fit."""
    deployment = world.store.deployment(deployment_id)
    if deployment is None or deployment.goal is not Goal.ASLEEP or slot >= deployment.full:
        return None
    begin = StartTask(task_id, slot, deployment.generation, restarts=0)
    task = new_task(begin, deployment.id, deployment.identity.app_id, clock.steady())
    env = opened(world.vault, task.app_id, variables_of(deployment))
    return replace(order_of(world, deployment, task), env=env)
