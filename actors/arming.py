"""The next wake of a sleeping deployment, made ready as the wake would be ordered now.

Used by `actors.deployment` within its turns. What the machine would start is found out by asking it; that task gets its
id here, and the wake that comes uses it. What is armed is kept by whoever arms (see `platformd.drivers.arms`), since
the actor of what sleeps is a row.
"""

from __future__ import annotations

from dataclasses import replace

from actors.task import Birth, order_of
from actors.variables import opened, speaking_of, variables_of
from actors.world import World
from platformd import clock
from platformd.domain import commands, effects
from platformd.domain.deployment.state import Deployment, Phase
from platformd.domain.deployment.transitions import step
from platformd.domain.effects import Moment
from platformd.domain.task.transitions import new_task
from platformd.drivers.base import LaunchOrder
from platformd.errors import PlatformError
from platformd.ids import new_id
from platformd.secrets import SecretUnreadable


class Arming:
    def __init__(self, world: World) -> None:
        self._world = world

    def moment(self, state: Deployment, event: object, moment: Moment) -> Moment:
        """The first task that a wake starts is the armed one."""
        armed = self._world.arms.of(state.id)
        usable = armed is not None and armed.generation == state.generation and state.phase is Phase.ASLEEP
        if armed is None or not usable or not isinstance(event, commands.Wake):
            return moment

        def next_id(slot: int) -> str:
            return armed.task_id if slot == armed.slot else moment.next_id(slot)

        return replace(moment, next_id=next_id)

    def follow(self, state: Deployment) -> None:
        """It became another: arm what a wake would start now, and nothing else. What never ran may never be asked for,
        and is not to take the place of what was."""
        armed = self._world.arms.of(state.id)
        if state.phase is not Phase.ASLEEP:
            if armed is not None and all(member.task_id != armed.task_id for member in state.members):
                self._world.arms.disarm(state.id)
            return
        order = self._foreseen(state) if state.ever_ready else None
        if order is None:
            self._world.arms.disarm(state.id)
        elif armed is None or replace(order, task_id=armed.task_id) != replace(armed, env={}):
            self._arm(state, order)

    def _foreseen(self, state: Deployment) -> LaunchOrder | None:
        if not self._world.arms.suits(state.spec):
            return None
        try:
            foreseen = step(
                state, commands.Wake(by_traffic=True), Moment(clock.steady(), 0.0, lambda _: new_id())
            )
        except PlatformError:
            return None
        match foreseen.effects:
            case (effects.StartTask() as start,):
                task = new_task(start, state.id, state.identity.app_id, clock.steady())
                return order_of(self._world, state, task)
        return None

    def _arm(self, state: Deployment, order: LaunchOrder) -> None:
        variables = variables_of(state)
        try:
            env = opened(self._world.vault, state.identity.app_id, variables)
        except SecretUnreadable:
            return  # its wake will say so
        with speaking_of(variables, env):
            self._world.arms.arm(replace(order, env=env))


def late_birth(state: Deployment, order: LaunchOrder, moment: Moment) -> Birth:
    """Of a task that was fired when it was no longer meant: it gets an actor, by which it ends as others do."""
    start = effects.StartTask(order.task_id, order.slot, order.generation, state.restarts.get(order.slot, 0))
    task = new_task(start, state.id, state.identity.app_id, moment.at)
    return Birth(task, replace(order, env={}), variables_of(state))
