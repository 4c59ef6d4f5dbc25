"""A little world: a service with time going by, and quiet spells in which everything must come right.

Played by the Hypothesis machine and by the simulation, which decide what happens next.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from platformd.domain import events
from platformd.domain.deployment.state import Goal, Phase
from platformd.domain.task import TaskPhase
from tests.domain.fakes import ENDED
from tests.domain.shell import DEPLOYMENT, Shell


class World(Shell):
    """A shell and a clock."""

    # ---- time ----------------------------------------------------------------------------------------------

    def due(self) -> list[str]:
        clocks = {DEPLOYMENT: self.deployment.next_deadline}
        clocks |= {key: task.next_deadline for key, task in self.tasks.items()}
        return [key for key, at in clocks.items() if at is not None and at <= self.now]

    def fire(self, key: str) -> None:
        if key == DEPLOYMENT:
            self.step_deployment(events.TimerElapsed())
            self.check_timer(key, self.deployment.next_deadline)
        else:
            self.step_task(key, events.TimerElapsed())
            self.check_timer(key, self.tasks[key].next_deadline)

    def next_instant(self) -> datetime | None:
        deadlines = [self.deployment.next_deadline, *(task.next_deadline for task in self.tasks.values())]
        deadlines += self.gateway.draining.values()
        if not self.gateway.quiet_told and not self.gateway.active and self.gateway.last_active is not None:
            deadlines.append(self.gateway.last_active + timedelta(seconds=1))
        return min((at for at in deadlines if at is not None and at > self.now), default=None)

    # ---- a quiet spell -------------------------------------------------------------------------------------

    def calm(self, most: int = 3000) -> None:
        """Nothing goes wrong any more: within `most` steps what is wanted is what there is."""
        for _ in range(most):
            if act := self._next_good_thing():
                act()
            elif self.settled():
                return
            else:
                at = self.next_instant()
                assert at is not None, f"stuck: {self.deployment}, {self.tasks}"
                self.now = at
        raise AssertionError(f"never settles: {self.deployment}, {self.tasks}")

    def _next_good_thing(self) -> Callable[[], None] | None:
        gateway, driver = self.gateway, self.driver
        if gateway.inbox:
            return lambda: gateway.obey(self.now)
        if self.inboxes:
            return lambda: self.deliver(next(iter(self.inboxes)))
        if self.claims:
            return lambda: self.claimed(True)
        if self.deployment.phase is Phase.QUARANTINED:
            return self.resume
        if self.deployment.yielded_to and not self.deployment.status.final:
            return self.return_port
        for names, act in (
            ([*driver.launching], lambda name: driver.launched(name, self.now)),
            ([*driver.adopting], driver.adopt),
            ([*driver.untold], driver.tell_exit),
            ([*driver.freezing], driver.freezes),
            ([*driver.unhealthy], lambda name: driver.health(name, events.HealthRestored())),
            ([name for name in driver.unprobed if driver.processes[name].alive], driver.probe),
            (
                [name for name, count in gateway.inflight.items() if count],
                lambda n: gateway.finish(n, self.now),
            ),
            (gateway.drained(self.now), gateway.closed),
            (
                [name for name, process in driver.processes.items() if process.alive and process.signalled],
                lambda name: driver.exits(name, ENDED),
            ),
            ([*driver.killing], driver.kill),
            ([*driver.sweeping], driver.sweep),
            (self.due(), self.fire),
        ):
            if names:
                return partial(act, min(names))
        return gateway.tell_quiet if gateway.quiet_due(self.now) else None

    def return_port(self) -> None:
        """The version it yielded its port to has failed."""
        self.tell(DEPLOYMENT, events.PortReturned(self.deployment.yielded_to or ""))

    def settled(self) -> bool:
        state, tasks = self.deployment, self.tasks.values()
        alive = {name for name, process in self.driver.processes.items() if process.alive}
        if state.goal is Goal.AWAKE and state.phase is not Phase.WAITING_FOR_BUILD:
            live = {member.task_id for member in state.members}
            frozen = {name for name in alive if self.driver.processes[name].frozen}
            assert not frozen & {member.task_id for member in state.ready}, "a target that stands still"
            return state.tasks_ready == state.tasks_total and live == alive and not self.gateway.held
        if state.phase is Phase.WAITING_FOR_BUILD:
            return not state.members and not self.gateway.held
        alive -= {name for name, process in self.driver.processes.items() if process.frozen}
        gone = not alive and all(task.phase.final or task.phase is TaskPhase.FROZEN for task in tasks)
        return state.phase in (Phase.ASLEEP, Phase.DONE) and gone and not self.gateway.held

    def claimed(self, won: bool) -> None:
        self.claims -= 1
        self.tell(DEPLOYMENT, events.BecameCurrent() if won else events.Superseded("newer", 2))
