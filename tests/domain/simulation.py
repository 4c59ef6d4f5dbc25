"""Random play in a world, by seed: what people, traffic, apps, machines and clocks may do, in any order.

`python -m tests.domain.simulation SEED [STEPS]` tells the story of one seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from random import Random

from platformd.domain import commands, events
from platformd.domain.deployment.state import Phase
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import (
    DeploymentSpec,
    KeepAwake,
    Networking,
    ProcessType,
    Protocol,
    Restart,
    RestartPolicyKind,
    SleepMode,
    StopPolicy,
    WakePolicy,
)
from tests.domain.builders import native
from tests.domain.fakes import ENDED
from tests.domain.shell import DEPLOYMENT
from tests.domain.world import World

EXITS = (
    Exit(code=0),
    Exit(code=3),
    Exit(signal="SIGSEGV"),
    Exit(signal="SIGKILL", oom_killed=True),
    Exit(unknown=True),
)
UNHEALTHY = Reason(code="UNHEALTHY", message="failed its health checks for 60 s")
DOCKER = ProcessType.DOCKER
RESOURCES = tuple(commands.ResourcesChange(cpu=cpu) for cpu in ("200m", "300m"))
Happening = tuple[str, Callable[[], object]]


def any_spec(random: Random) -> DeploymentSpec:
    """Small numbers, so that deadlines and budgets are met often."""
    protocol = random.choice((Protocol.HTTP, Protocol.HTTP, Protocol.HTTP, Protocol.NONE))
    port = 8080 if protocol is Protocol.HTTP and random.random() < 0.2 else None
    return native(
        artifact_id="artifact" if random.random() < 0.95 else None,
        replicas=random.choice((0, 1, 1)) if port else random.choice((0, 1, 1, 2, 3)),
        networking=Networking(protocol=protocol, port=port),
        cold_start_enabled=random.random() < 0.75,
        idle_timeout_secs=random.choice((1, 5, 300)),
        keep_awake=random.choice((None, None, KeepAwake(busy_path="/busy"))),
        sleep_mode=random.choice((SleepMode.STOP, SleepMode.STOP, SleepMode.FREEZE, SleepMode.AUTO)),
        max_runtime_secs=random.choice((None, None, 10)),
        restart=Restart(policy=random.choice([*RestartPolicyKind]), max_attempts=random.choice((0, 1, 5))),
        wake=WakePolicy(timeout_secs=random.choice((2, 60)), replicas=random.choice((None, None, 1))),
        stop=StopPolicy(grace_secs=random.choice((0, 10)), exclusive=random.random() < 0.2),
        progress_deadline_secs=random.choice((5, 600)),
    )


class Simulation:
    """`play` lets one random thing happen at a time; `then_calm` waits until everything is as wanted."""

    def __init__(self, seed: int, tell: Callable[[str], object] = lambda line: None) -> None:
        self.random = random = Random(seed)
        self.world = World(any_spec(random), random)
        self.restarts = random.random() < 0.6
        self.tell = tell

    def play(self, steps: int) -> None:
        for _ in range(steps):
            groups = [group for group in self.possible() if group]
            name, act = self.random.choice(self.random.choice(groups))
            self.tell(f"{(self.world.now.timestamp() % 86400):9.3f} {name}")
            act()

    def possible(self) -> list[list[Happening]]:
        """What may happen now, in groups that are equally likely."""
        return [
            self._messages(),
            self._messages(),
            self._driver_answers(),
            self._driver_answers(),
            self._apps(),
            self._traffic(),
            self._time(),
            self._rarely(self._people(), 0.5),
            self._rarely(self._disasters(), 0.15),
        ]

    def _rarely(self, group: list[Happening], chance: float) -> list[Happening]:
        return group if self.random.random() < chance else []

    def _messages(self) -> list[Happening]:
        world = self.world
        found = [
            (f"deliver {key} {box[0]}", lambda key=key: world.deliver(key))
            for key, box in world.inboxes.items()
        ]
        if world.gateway.inbox:
            found.append((f"gateway {world.gateway.inbox[0]}", lambda: world.gateway.obey(world.now)))
        return found

    def _driver_answers(self) -> list[Happening]:
        world, driver = self.world, self.world.driver
        found: list[Happening] = []
        for name in driver.launching:
            stubborn = self.random.random() < 0.1
            found.append((f"launched {name}", lambda n=name, s=stubborn: driver.launched(n, world.now, s)))
            found.append((f"image of {name}", lambda n=name: driver.image(n)))
            if name not in driver.processes and self.random.random() < 0.1:
                act = self.random.choice((driver.waits, driver.fails))
                found.append((f"{act.__name__} {name}", lambda n=name, act=act: act(n)))
        for names, act in (
            (driver.adopting, driver.adopt),
            (driver.untold, driver.tell_exit),
            (driver.freezing, driver.freezes),
            (driver.freezing if self.random.random() < 0.05 else (), driver.cannot_freeze),
            (driver.killing, driver.kill),
            (driver.sweeping, driver.sweep),
            ({name for name in driver.unprobed if driver.processes[name].alive}, driver.probe),
        ):
            found += [(f"{act.__name__} {name}", lambda n=name, act=act: act(n)) for name in sorted(names)]
        if world.claims:
            won = self.random.random() < 0.9
            found.append((f"claimed {won}", lambda: world.claimed(won)))
        return found

    def _apps(self) -> list[Happening]:
        driver = self.world.driver
        found: list[Happening] = []
        for name, process in driver.processes.items():
            if not process.alive:
                continue
            if process.signalled and not process.stubborn:
                found += [(f"ends {name}", lambda n=name: driver.exits(n, ENDED))] * 5
            if self.random.random() < 0.15:
                exit = self.random.choice(EXITS)
                found.append((f"exits {name} {exit}", lambda n=name, e=exit: driver.exits(n, e)))
            fact = self.random.choice(
                (events.HealthMissed(), events.HealthRestored(), events.HealthLost(UNHEALTHY))
            )
            if process.listens and self.random.random() < 0.15:
                found.append((f"health {name} {fact}", lambda n=name, f=fact: driver.health(n, f)))
        return found

    def _traffic(self) -> list[Happening]:
        world, gateway = self.world, self.world.gateway
        found: list[Happening] = [("request", world.request)]
        for name, count in gateway.inflight.items():
            if count:
                found += [(f"finish {name}", lambda n=name: gateway.finish(n, world.now))] * 2
        for name in sorted(world.driver.unprobed) if world.deployment.spec.serves else ():
            if gateway.held and world.driver.processes[name].alive:
                found.append((f"foreseen {name}", lambda n=name: gateway.foresee(n)))
        for name in gateway.drained(world.now):
            found += [(f"closed {name}", lambda n=name: gateway.closed(n))] * 2
        if gateway.quiet_due(world.now):
            found += [("quiet", gateway.tell_quiet)] * 2
        return found

    def _time(self) -> list[Happening]:
        world = self.world
        found: list[Happening] = [(f"timer {key}", lambda key=key: world.fire(key)) for key in world.due()]
        if (at := world.next_instant()) is not None:
            found.append(("until the next deadline", lambda: setattr(world, "now", at)))
        later = world.now + timedelta(seconds=self.random.choice((0.001, 0.3, 2, 70)))
        found.append((f"{later - world.now} go by", lambda: setattr(world, "now", later)))
        return found

    def _people(self) -> list[Happening]:
        world, random = self.world, self.random
        replicas = random.choice((0, 1, 2, 3))
        orders = [
            commands.Change(replicas=replicas),
            commands.Wake(),
            commands.Sleep(),
            events.Superseded("newer", 2),
        ]
        orders += [events.MemoryShort(), commands.KeepAwake(random.choice((0, 3, 100)))]
        orders += [commands.Restart(), commands.Change(resources=random.choice(RESOURCES))]
        orders += [commands.Change(replicas=random.choice((None, 2)), image="shop:2", process_type=DOCKER)]
        orders += [events.PortWanted("newer", 8080), events.PortReturned("newer")]
        if random.random() < 0.1:
            orders.append(commands.Cancel())
        dies = random.random() < 0.1 and self.restarts
        found: list[Happening] = [(f"{order}", lambda o=order: world.command(o, dies)) for order in orders]
        for key, task in world.tasks.items():
            if not task.phase.final:
                found.append((f"terminate {key}", lambda key=key: world.tell(key, commands.Terminate())))
        return found

    def _disasters(self) -> list[Happening]:
        world = self.world
        found: list[Happening] = [("store flushed", world.flush), ("gateway restarts", world.restart_gateway)]
        if self.restarts:
            found += [("kill -9", world.restart), ("reboot", lambda: world.restart(host=True))]
        if world.deployment.phase is Phase.QUARANTINED:
            found += [("resumed", world.resume)] * 10
        elif self.random.random() < 0.2:
            found.append(("quarantined", world.quarantine))
        found.append(("lost answer", self._lose_an_order))
        return found

    def _lose_an_order(self) -> None:
        """The gateway never hears of a question about idleness."""
        inbox = self.world.gateway.inbox
        if inbox and inbox[0][0] == "idle":
            inbox.popleft()


def main() -> None:
    seed, steps = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 150
    simulation = Simulation(seed, print)
    print(simulation.world.deployment.spec)  # noqa: T201 - it tells a story
    simulation.play(steps)
    simulation.world.calm()
    print(DEPLOYMENT, simulation.world.deployment)  # noqa: T201 - it tells a story


if __name__ == "__main__":
    main()
