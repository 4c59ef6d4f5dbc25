"""A native driver with a real keeper, its loop in a thread of its own; the test's thread plays the actors."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from platformd import ids
from platformd.domain.events import Launched, Probed, Swept, TaskFact
from platformd.domain.spec import DeploymentSpec, Networking, Resources
from platformd.domain.task import Task, TaskPhase
from platformd.drivers import killset, proc
from platformd.drivers.base import LaunchOrder
from platformd.drivers.cgroup_places import Cgroups
from platformd.drivers.launch_order import NativeSettings
from platformd.drivers.native import NativeDriver
from platformd.drivers.run import unborn
from platformd.links.keeper import KeeperLink
from tests.drivers.contract import snapshot
from tests.support import eventually

F = TypeVar("F", bound=TaskFact)
T = TypeVar("T")
NO_CGROUPS = Cgroups({}, frozenset())


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="loop")
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the loop's thread."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result(timeout=20)

    def wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=20)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=20)


@dataclass
class Serve:
    """One life of the serving process's part: a loop, a link, a driver."""

    rig: Rig
    cgroups: Cgroups | None = None
    loop: Loop = field(default_factory=Loop)

    def __post_init__(self) -> None:
        rig = self.rig
        self.sent: list[dict[str, Any]] = []
        self.link = KeeperLink(rig.data_dir, self.loop.loop, self.on_event, lambda: None, grace=20)
        welcome = self.loop.wait(self.link.connect())
        self.keeper_pid = welcome.pid
        self.driver = self.loop.call(
            lambda: NativeDriver(
                send=self.link.send,
                loop=self.loop.loop,
                sink=rig.on_fact,
                settings=rig.settings,
                system_line=lambda _, task, text: rig.lines.append((task, text)),
                cgroups=self.cgroups,
            )
        )
        resynced = {"op": "resynced", "tasks": list(welcome.tasks)}
        self.loop.call(lambda: self.driver.on_keeper_event(resynced))

    def on_event(self, event: dict[str, Any]) -> None:
        self.rig.events.append(event)
        if self.rig.hears(event):
            self.driver.on_keeper_event(event)

    def die(self) -> None:
        """As with kill -9: nobody is told anything."""
        self.loop.call(self.link.close)
        self.loop.call(self.driver.close)
        self.loop.stop()


class Rig:
    """Facts and lines of all lives; `close` leaves nothing behind."""

    def __init__(
        self, data_dir: Path, program: Path, cgroups: Cgroups | None = None, **settings: Any
    ) -> None:
        self.data_dir, self.program = data_dir, program
        data_dir.mkdir()
        data_dir.chmod(0o711)
        self.settings = NativeSettings(data_dir=data_dir, **settings)
        self.told: list[tuple[float, str, TaskFact]] = []
        self.lines: list[tuple[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.orders: dict[str, LaunchOrder] = {}
        self.hears: Callable[[dict[str, Any]], bool] = lambda _: True
        self.cgroups = cgroups
        self.keepers: set[int] = set()
        self.serve = self._new_serve()

    def _new_serve(self) -> Serve:
        serve = Serve(self, self.cgroups)
        self.keepers.add(serve.keeper_pid)
        return serve

    @property
    def driver(self) -> NativeDriver:
        return self.serve.driver

    def on_fact(self, task_id: str, fact: TaskFact) -> None:
        self.told.append((time.monotonic(), task_id, fact))

    # ---- orders --------------------------------------------------------------------------------------------

    def order(self, env: dict[str, object] | None = None, **spec: Any) -> LaunchOrder:
        """An order for the test program; `net` are fields of `Networking`, `res` of `Resources`."""
        networking = Networking(**spec.pop("net", {}))
        resources = Resources(**{"memory": "64Mi", **spec.pop("res", {})})
        variables = {name: str(value) for name, value in (env or {}).items()}
        executable = spec.pop("executable", self.program)
        order = LaunchOrder(
            task_id=ids.new_id(),
            deployment_id=ids.new_id(),
            slot=0,
            generation=1,
            app_name="demo",
            environment="production",
            spec=DeploymentSpec(networking=networking, resources=resources, **spec),
            env=variables,
            executable=executable,
        )
        self.orders[order.task_id] = order
        return order

    def launch(self, env: dict[str, object] | None = None, **spec: Any) -> LaunchOrder:
        order = self.order(env, **spec)
        self.driver.launch(order)
        return order

    def running(self, env: dict[str, object] | None = None, **spec: Any) -> LaunchOrder:
        """Launched and ready."""
        order = self.launch(env, **spec)
        self.wait(order, Probed)
        return order

    def task(self, order: LaunchOrder, phase: TaskPhase = TaskPhase.RUNNING) -> Task:
        """The snapshot its actor would have."""
        launched = next(iter(self.facts(order, Launched)), None)
        return snapshot(order, phase, launched)

    # ---- what was told -------------------------------------------------------------------------------------

    def facts(self, order: LaunchOrder, kind: type[F]) -> list[F]:
        return [fact for _, task_id, fact in self.told if task_id == order.task_id and isinstance(fact, kind)]

    def names(self, order: LaunchOrder) -> list[str]:
        return [type(fact).__name__ for _, task_id, fact in self.told if task_id == order.task_id]

    def wait(self, order: LaunchOrder, kind: type[F], timeout: float = 15.0) -> F:
        """The first fact of this kind about the task, told or to come."""
        try:
            return eventually(lambda: self.facts(order, kind), timeout, every=0.002)[0]
        except AssertionError:
            lines = [text for task_id, text in self.lines if task_id == order.task_id]
            raise AssertionError(
                f"no {kind.__name__} in {timeout} s; told: {self.told[-8:]}; lines: {lines}"
            ) from None

    def at(self, order: LaunchOrder, kind: type[TaskFact]) -> float:
        return next(
            at for at, task_id, fact in self.told if task_id == order.task_id and isinstance(fact, kind)
        )

    def pid(self, order: LaunchOrder) -> int:
        pid = self.wait(order, Launched).pid
        assert pid is not None
        return pid

    def marked(self, order: LaunchOrder) -> list[int]:
        """Live processes that bear the task's marker."""
        return [process.pid for process in killset.find(unborn(order.task_id))]

    def said(self, order: LaunchOrder, words: str) -> bool:
        return any(task_id == order.task_id and words in text for task_id, text in self.lines)

    # ---- lives ---------------------------------------------------------------------------------------------

    def restart(self, before_start: Callable[[], None] = lambda: None) -> None:
        """kill -9 of the serving process, then another one."""
        self.serve.die()
        self.told.clear()
        before_start()
        self.serve = self._new_serve()

    def gone(self, order: LaunchOrder) -> None:
        """Kill, sweep and forget, as its actor would."""
        self.driver.kill(self.task(order))
        self.driver.sweep(self.task(order))
        self.wait(order, Swept)
        self.driver.forget(self.task(order))

    def close(self) -> None:
        try:
            self._end_tasks()
        finally:
            self.keepers.update(event["pid"] for event in self.events if event["op"] == "resynced")
            self.serve.die()
            for pid in self.keepers:
                _end(pid)

    def _end_tasks(self) -> None:
        orders = list(self.orders.values())
        for order in orders:
            self.driver.kill(self.task(order))
        eventually(lambda: not any(self.marked(order) for order in orders), timeout=20)
        for order in orders:
            self.driver.forget(self.task(order))
        eventually(lambda: not self.driver._limits.cgroups.left_behind())


def _end(pid: int) -> None:
    """End a keeper of ours, if it is still that."""
    process = proc.read(pid)
    if process is not None and "keeper" in proc.command(pid):
        proc.send(pid, process.start_time, signal.SIGKILL)
        eventually(lambda: not proc.alive(pid, process.start_time))


def free_ports() -> socket.socket:
    """A listener outside the ephemeral range, after whose port two more are free."""
    for port in range(random.randrange(12000, 18000), 19000):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in (port + 1, port + 2):
                stack.enter_context(socket.create_server(("127.0.0.1", number)))
            return socket.create_server(("127.0.0.1", port))
    raise AssertionError("no three free ports in a row")
