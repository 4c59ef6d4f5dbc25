"""Hypothesis plays a world: rules are what may happen, invariants are checked after each step, failures are shrunk.

The simulation beside it plays more games; this one finds the shortest bad one.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from platformd.domain import commands, events
from platformd.domain.deployment.state import Phase
from platformd.domain.snapshot import Reason
from platformd.domain.spec import (
    Networking,
    Protocol,
    Restart,
    RestartPolicyKind,
    SleepMode,
    StopPolicy,
    WakePolicy,
)
from tests.domain import invariants
from tests.domain.builders import native
from tests.domain.fakes import ENDED
from tests.domain.simulation import EXITS, RESOURCES
from tests.domain.world import World

specs = st.builds(
    native,
    replicas=st.integers(0, 3),
    networking=st.builds(Networking, protocol=st.sampled_from([Protocol.HTTP, Protocol.NONE])),
    cold_start_enabled=st.booleans(),
    idle_timeout_secs=st.sampled_from([1, 300]),
    sleep_mode=st.sampled_from(SleepMode),
    max_runtime_secs=st.sampled_from([None, 10]),
    restart=st.builds(Restart, policy=st.sampled_from(RestartPolicyKind), max_attempts=st.integers(0, 2)),
    wake=st.builds(WakePolicy, timeout_secs=st.sampled_from([2, 60]), replicas=st.sampled_from([None, 1])),
    stop=st.builds(StopPolicy, grace_secs=st.sampled_from([0, 10]), exclusive=st.booleans()),
    progress_deadline_secs=st.sampled_from([5, 600]),
)
orders = st.one_of(
    st.builds(commands.Change, replicas=st.integers(0, 3)),
    st.builds(commands.Change, replicas=st.sampled_from([None, 2]), resources=st.sampled_from(RESOURCES)),
    st.just(commands.Restart()),
    st.sampled_from([commands.Wake(), commands.Sleep(), commands.Cancel(), events.Superseded("newer", 2)]),
)
healths = st.sampled_from(
    [
        events.HealthMissed(),
        events.HealthRestored(),
        events.HealthLost(Reason(code="UNHEALTHY", message="failed")),
    ]
)


class DeploymentWorld(RuleBasedStateMachine):
    """The effects of the deployment become events of its tasks and the other way round, in any order and with any
    delay; the service, the machine and the gateway restart; the driver launches, fails, waits, hangs and loses."""

    world: World

    @initialize(spec=specs, seed=st.integers(0, 1000))
    def begin(self, spec: Any, seed: int) -> None:
        self.world = World(spec, Random(seed))

    def one_of(self, data: st.DataObject, names: Any) -> Any:
        return data.draw(st.sampled_from(sorted(names)))

    # Messages

    @precondition(lambda self: self.world.inboxes)
    @rule(data=st.data(), most=st.integers(1, 5))
    def deliver(self, data: st.DataObject, most: int) -> None:
        for _ in range(most):
            if self.world.inboxes:
                self.world.deliver(self.one_of(data, self.world.inboxes))

    @precondition(lambda self: self.world.gateway.inbox)
    @rule()
    def gateway_obeys(self) -> None:
        self.world.gateway.obey(self.world.now)

    @precondition(lambda self: self.world.claims)
    @rule(won=st.booleans())
    def store_answers_the_claim(self, won: bool) -> None:
        self.world.claimed(won)

    # People and traffic

    @rule(order=orders, dies=st.booleans())
    def command(self, order: object, dies: bool) -> None:
        self.world.command(order, dies)

    @precondition(lambda self: self.world.tasks)
    @rule(data=st.data())
    def terminate(self, data: st.DataObject) -> None:
        self.world.tell(self.one_of(data, self.world.tasks), commands.Terminate())

    @rule()
    def request(self) -> None:
        self.world.gateway.request(self.world.now, min)

    @precondition(lambda self: any(self.world.gateway.inflight.values()))
    @rule(data=st.data())
    def request_ends(self, data: st.DataObject) -> None:
        busy = [name for name, count in self.world.gateway.inflight.items() if count]
        self.world.gateway.finish(self.one_of(data, busy), self.world.now)

    @precondition(lambda self: self.world.gateway.drained(self.world.now))
    @rule(data=st.data())
    def drained(self, data: st.DataObject) -> None:
        self.world.gateway.closed(self.one_of(data, self.world.gateway.drained(self.world.now)))

    @precondition(lambda self: self.world.gateway.quiet_due(self.world.now))
    @rule()
    def quiet(self) -> None:
        self.world.gateway.tell_quiet()

    # Driver and apps

    @precondition(lambda self: self.world.driver.launching)
    @rule(data=st.data(), how=st.sampled_from(["launched", "launched", "waits", "fails", "stubborn"]))
    def launch_is_answered(self, data: st.DataObject, how: str) -> None:
        driver = self.world.driver
        name = self.one_of(data, driver.launching)
        if name in driver.processes or how in ("launched", "stubborn"):
            driver.launched(name, self.world.now, how == "stubborn")
        elif how == "waits":
            driver.waits(name)
        else:
            driver.fails(name)

    @precondition(lambda self: self.probing())
    @rule(data=st.data())
    def probed(self, data: st.DataObject) -> None:
        self.world.driver.probe(self.one_of(data, self.probing()))

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), exit=st.sampled_from(EXITS))
    def exits(self, data: st.DataObject, exit: Any) -> None:
        name = self.one_of(data, self.alive())
        process = self.world.driver.processes[name]
        self.world.driver.exits(name, ENDED if process.signalled and not process.stubborn else exit)

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), fact=healths)
    def health(self, data: st.DataObject, fact: object) -> None:
        name = self.one_of(data, self.alive())
        if self.world.driver.processes[name].listens:
            self.world.driver.health(name, fact)

    @precondition(lambda self: self.jobs())
    @rule(data=st.data())
    def driver_works(self, data: st.DataObject) -> None:
        kind, name = self.one_of(data, self.jobs())
        getattr(self.world.driver, kind)(name)

    def probing(self) -> list[str]:
        driver = self.world.driver
        return [name for name in driver.unprobed if driver.processes[name].alive]

    def alive(self) -> list[str]:
        return [name for name, process in self.world.driver.processes.items() if process.alive]

    def jobs(self) -> list[tuple[str, str]]:
        driver = self.world.driver
        waiting = {
            "adopt": driver.adopting,
            "tell_exit": driver.untold,
            "kill": driver.killing,
            "sweep": driver.sweeping,
        }
        return [(kind, name) for kind, names in waiting.items() for name in names]

    # Time and disasters

    @rule()
    def until_the_next_deadline(self) -> None:
        self.world.now = self.world.next_instant() or self.world.now

    @rule(seconds=st.sampled_from([0.001, 0.3, 2, 70]))
    def time_goes_by(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.world.due())
    @rule(data=st.data())
    def timer_fires(self, data: st.DataObject) -> None:
        self.world.fire(self.one_of(data, self.world.due()))

    @rule()
    def store_is_flushed(self) -> None:
        self.world.flush()

    @rule(host=st.booleans())
    def killed(self, host: bool) -> None:
        self.world.restart(host)

    @rule()
    def gateway_restarts(self) -> None:
        self.world.restart_gateway()

    @rule()
    def quarantined_or_resumed(self) -> None:
        if self.world.deployment.phase is Phase.QUARANTINED:
            self.world.resume()
        else:
            self.world.quarantine()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()
            for task in self.world.tasks.values():
                invariants.check_task(task)

    def teardown(self) -> None:
        """Whatever happened, without further faults everything comes right."""
        if hasattr(self, "world"):
            self.world.calm()


TestDeploymentWorld = DeploymentWorld.TestCase
TestDeploymentWorld.settings = settings(max_examples=100, stateful_step_count=60)
