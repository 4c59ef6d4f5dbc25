"""What is told of a container, and what goes on while it runs: its output is followed, its readiness probed.

Shared by the driver's parts. Called in the run's jobs unless a comment says otherwise; the prober works on the loop.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from typing import Any

from platformd import clock
from platformd.domain.events import Exited, Launched, Probed, Swept, TaskFact
from platformd.domain.snapshot import Exit
from platformd.domain.spec import CpuPolicy
from platformd.drivers.base import Sink
from platformd.drivers.docker.follower import Follower
from platformd.drivers.docker.logs import Batch, stored_cursor
from platformd.drivers.docker.run import Run
from platformd.drivers.docker.settings import DockerSettings
from platformd.drivers.docker.stats import group_of
from platformd.drivers.docker.streams import Streams
from platformd.drivers.probe import Prober, Target
from platformd.drivers.workers import Workers
from platformd.ownership import open_listeners

Details = Mapping[str, Any]
"""What the engine's `inspect` says of a container."""


class Facts:
    """`conclude` is given after it is made: who looks at a container that may have exited."""

    conclude: Callable[[Run], None]

    def __init__(
        self,
        loop: AbstractEventLoop,
        sink: Sink,
        workers: Workers,
        streams: Streams,
        settings: DockerSettings,
        deliver: Callable[[str, str, Batch], None],
    ) -> None:
        self._sink, self._workers, self._streams = sink, workers, streams
        self._settings, self._deliver = settings, deliver
        self._listeners = open_listeners()
        self._prober = Prober(loop, self._listeners)

    def close(self) -> None:
        """On the loop's thread."""
        self._prober.close()
        self._listeners.close()

    def tell(self, run: Run, fact: TaskFact) -> None:
        if not run.forgotten:
            self._sink(run.task_id, fact)

    def tell_again(self, run: Run) -> None:
        """The actor was made anew and may have missed what was told before."""
        if run.launched:
            self.tell(run, self._launched(run))
        if run.ready:
            self.tell(run, Probed(run.address))
        if run.told is not None:
            self.tell(run, Exited(run.told))

    # ---- it runs -------------------------------------------------------------------------------------------

    def started(self, run: Run, at_ns: int) -> None:
        """Its address is known: tell, and look when it is ready."""
        run.started_ns, run.launched = at_ns, True
        self.tell(run, self._launched(run))
        self.watch(run)

    def _launched(self, run: Run) -> Launched:
        at = clock.steady_from_boot_ns(run.started_ns)
        return Launched(handle=run.handle(), at=at, container_id=run.container, address=run.address)

    def watch(self, run: Run) -> None:
        """Probe it until it is ready, and its health from then on."""
        if run.address is None and run.order.spec.serves:
            return
        host, port = run.address or ("", None)
        target = Target(
            task_id=run.task_id,
            pid=None,
            host=host,
            port=port,
            networking=run.order.spec.networking,
            must_answer=run.published,
            on_ready=lambda: self._ready(run),
            on_health=lambda fact: self.tell(run, fact),
        )
        self._workers.on_loop(lambda: self._watch(run, target))

    def _watch(self, run: Run, target: Target) -> None:
        if run.told is None and not (run.forgotten or run.killed or run.still):
            self._prober.watch(target, run.ready)

    def _ready(self, run: Run) -> None:
        """On the loop's thread."""
        run.ready = True
        self.tell(run, Probed(run.address))
        run.line.add(lambda: self._cap(run))

    def follow(self, run: Run, details: Details) -> None:
        """Read its output, from where the keeper has it; and measure it from here where that is possible."""
        assert run.container is not None
        order = run.order
        if run.follower is None:
            run.follower = Follower(
                self._streams,
                run.container,
                stored_cursor(self._settings.data_dir, order.deployment_id, order.task_id),
                lambda batch: self._deliver(order.deployment_id, order.task_id, batch),
                lambda: run.line.add(lambda: self.conclude(run)),
            )
        run.group = group_of(int((details.get("State") or {}).get("Pid") or 0), run.container)

    def lift(self, run: Run) -> None:
        """While it starts it may have all the processor it wants."""
        if run.group is not None and run.order.spec.resources.cpu_policy is CpuPolicy.CAP and not run.ready:
            run.group.cap_cpu(None)

    def _cap(self, run: Run) -> None:
        if run.group is not None and run.order.spec.resources.cpu_policy is CpuPolicy.CAP:
            run.group.cap_cpu(run.order.spec.resources.cpu_millis)

    # ---- it does not run any more --------------------------------------------------------------------------

    def stop_probing(self, task_id: str) -> None:
        self._workers.on_loop(lambda: self._prober.stop(task_id))

    def exited(self, run: Run, exit: Exit, then: Callable[[], None]) -> None:
        """Once its last output is stored: told once, then `then` in a job."""
        if run.ending or run.told is not None:
            return
        run.ending = True
        self.stop_probing(run.task_id)
        if run.follower is None:
            self._told(run, exit, then)
        else:
            run.follower.finish(lambda: run.line.add(lambda: self._told(run, exit, then)))

    def _told(self, run: Run, exit: Exit, then: Callable[[], None]) -> None:
        lines = () if run.follower is None else run.follower.last_lines
        run.told = Exit(
            code=exit.code,
            signal=exit.signal,
            oom_killed=exit.oom_killed,
            unknown=exit.unknown,
            last_lines=lines,
        )
        self.tell(run, Exited(run.told))
        then()

    def swept(self, run: Run) -> None:
        self.let_go(run)
        self.tell(run, Swept())

    def let_go(self, run: Run) -> None:
        """Nothing of it is looked at any more; any thread."""
        self.stop_probing(run.task_id)
        if run.follower is not None:
            run.follower.cancel()
