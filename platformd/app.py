"""The composition root of serve: puts the rooms together, starts them in order and stops them in reverse.

Called by the command entry on the main thread, which becomes the loop's. Nothing here decides anything about
deployments; it knows who needs whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import uvloop

from actors import measures, pressure
from actors.bridge import Bridge
from actors.build import BuildActor, end_builds, recover_builds
from actors.busy import Busy
from actors.dead_letters import DeadLetters
from actors.deployment import DeploymentActor
from actors.directory import Directory
from actors.messages import ShuttingDown
from actors.preparation import next_order
from actors.previews import Previews
from actors.quarantine import quarantine
from actors.recovery import Recovery, end_all, pursue_addresses, recover
from actors.registries import credentials
from actors.removal import Removals
from actors.retention import Retention
from actors.runtime import PoolRuntime
from actors.supervisor import Supervisor
from actors.task import TaskActor
from actors.timers import Timers
from actors.traffic import GatewayTraffic
from actors.usage import UsageHistory
from actors.world import World
from handlers.routes import make_app, make_server
from platformd import clock, datadir, heap, listeners, metrics, observability
from platformd.artifacts import ArtifactFiles, Executables
from platformd.composition import (
    anchor_clock,
    arm_wakes,
    make_context,
    make_retention,
    make_yard,
    refuse_without_tokens,
    told_to_github,
    upgraded,
)
from platformd.config import Settings
from platformd.domain.events import TaskFact
from platformd.domain.operations import AdoptDomain
from platformd.domain.spec import ProcessType
from platformd.drivers.base import Driver
from platformd.drivers.composition import native_driver
from platformd.drivers.docker.composition import docker_driver
from platformd.errors import PlatformError, Unavailable
from platformd.gateway.command import command, environment
from platformd.hub import Event, Hub
from platformd.links.gateway import GatewayLink
from platformd.links.keeper import KeeperLink
from platformd.logstore import LogStore
from platformd.readiness import Health, Readiness, engine_health
from platformd.secrets import Vault
from platformd.store import Store

SWITCH_INTERVAL = 0.0005  # commits and wakes are a few GIL hand-overs; the default makes each cost 5 ms
RECONCILE_SECS = 10.0
SETTLE_SECS = 5.0
GATEWAY_ENDS_SECS = 12.0
READY_SECS = 30.0
_log = observability.get_logger("app")


def serve(settings: Settings) -> int:
    """Run until SIGTERM or Ctrl-C; the exit code: 0 well, 1 when it could not start."""
    observability.configure(settings.log_format, settings.log_level, process="serve")
    observability.dump_stacks_on_signal()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        datadir.prepare(settings.data_dir)
        with (
            datadir.Lock(settings.data_dir) as lock,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_serve(settings, lock))
    except (PlatformError, OSError) as error:
        _log.error("cannot serve", detail=str(error))
        return 1
    return 0


async def _serve(settings: Settings, lock: datadir.Lock) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with Service(settings).running() as service:
        lock.describe(f"pid {os.getpid()}, api {service.api_url}")
        ready = asyncio.create_task(service.ready())
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and not ready.exception():
            print(service.announcement, flush=True)  # noqa: T201 - the one line that scripts wait for
        await stopped
        ready.cancel()


class Service:
    """One running server. Its parts are made in `running`, in the order they need each other."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.serve_socket = settings.data_dir / "run" / "serve.sock"
        self.aside: Callable[[Callable[[], None]], object] = partial(self.loop.run_in_executor, None)
        self.loop_thread = threading.get_ident()
        self.hub = Hub(self.loop)
        self.readiness = Readiness()
        self.gateway_gone = asyncio.Event()
        self.left_keeper = False
        self.listeners: list[Callable[[Sequence[Event]], None]] = [measures.heard]
        self.vault = Vault.open(settings.data_dir)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        async with AsyncExitStack() as stack:
            self._open_store(stack)
            self._start_actors(stack)
            self._build_world(stack)
            records = await self._meet_keeper(stack)
            await self._open_sockets()
            await self._listen_to_gateway(stack)
            self.listeners.append(
                told_to_github(stack, self.settings, self.gateway_socket, self.store, self.vault)
            )
            self._serve_api()
            self._recover(records)
            await self._start_gateway()
            stack.push_async_callback(self._wind_down)
            pressed = pressure.watch(self.directory, self.store)
            for work in (self._reconcile(), pressed, self.usage.watch(), self._retention().watch()):
                stack.callback(asyncio.create_task(work).cancel)
            gc.collect()
            gc.freeze()
            yield self

    # ---- start, in order ----

    def _open_store(self, stack: AsyncExitStack) -> None:
        self.store = Store.open(
            self.settings.data_dir, publish=self._publish, path=self.settings.database_path
        )
        stack.callback(self.store.close)
        refuse_without_tokens(self.settings, self.store)
        self.host_restarted = not anchor_clock(self.store)
        stack.callback(clock.anchor, None)
        self.store.commit(AdoptDomain(domain=self.settings.domain)).result()

    def _publish(self, events: Sequence[Event], revisions: Mapping[tuple[str, str], int]) -> None:
        """After each commit, on the writer's thread."""
        self.hub.publish(events, revisions)
        for listen in self.listeners:
            listen(events)

    def _start_actors(self, stack: AsyncExitStack) -> None:
        self.runtime = PoolRuntime()
        self.dead_letters = DeadLetters()
        supervisor = Supervisor(
            dead_letter=self.dead_letters,
            on_quarantine=lambda key, failure: quarantine(self.world, self.yard, key, failure),
        )
        self.directory = Directory(self.runtime, supervisor)
        self.timers = Timers(self.directory.tell)
        self.runtime.start()
        self.timers.start()
        stack.callback(self.runtime.stop)
        stack.callback(self.directory.drop)
        stack.callback(self.timers.stop)

    async def _meet_keeper(self, stack: AsyncExitStack) -> list[dict[str, Any]]:
        """The tasks it knows. The driver hears of them first: adoption compares with them."""
        welcome = await self.keeper.connect()
        stack.push_async_callback(self._leave_keeper)
        if welcome.outdated:
            await upgraded(self.keeper)
        self.native.on_keeper_event({"op": "resynced", "tasks": list(welcome.tasks)})
        self.readiness.set("native_driver", Health.OK)
        return list(welcome.tasks)

    def _build_world(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        self.keeper = KeeperLink(settings.data_dir, self.loop, self._from_keeper, self._keeper_lost)
        self.artifacts = ArtifactFiles(settings.data_dir / "artifacts")
        self.logs = LogStore(settings.data_dir / "logs")
        self.gateway = GatewayLink(self.serve_socket, self.loop, self._from_gateway)
        full = settings.full_gateway_errors
        self.traffic = GatewayTraffic(
            self.directory, self.store, self.gateway.send, full, self.loop, self.aside
        )
        self.traffic.on_synced = self._gateway_synced
        loop, sink, line = self.loop, self._hear_of_task, self._write_line
        self.native = native_driver(settings, loop=loop, sink=sink, send=self.keeper.send, write_line=line)
        arm_wakes(self.native, self.traffic, self.directory)
        self.docker = docker_driver(
            settings,
            loop=loop,
            sink=sink,
            send=self.keeper.send,
            write_line=line,
            credentials=lambda app_id, image: credentials(self.world, app_id, image),
            report=self.store.report,
            on_engine=lambda trouble: self.readiness.set(*engine_health(trouble)),
            next_order=lambda *task: next_order(self.world, *task),
        )
        stack.callback(self.docker.close)
        drivers: dict[ProcessType, Driver] = {ProcessType.TISH: self.native, ProcessType.DOCKER: self.docker}
        self.world = world = World(
            directory=self.directory,
            timers=self.timers,
            store=self.store,
            traffic=self.traffic,
            busy=Busy(self.loop, self.directory, drivers),
            drivers=drivers,
            executable=Executables(self.store, self.artifacts),
            write_line=self._write_line,
            keep_versions=settings.keep_versions,
            arms=self.native.arms,
            vault=self.vault,
        )
        self.usage = UsageHistory(self.store, drivers.values(), self.traffic.loads)
        self.directory.register("deployment", lambda key: DeploymentActor(key, world))
        self.directory.register("task", lambda key: TaskActor(key, world))
        self.yard = make_yard(settings, world, self.artifacts, self.keeper.send)
        self.directory.register("build", lambda key: BuildActor(key, world, self.yard))

    async def _open_sockets(self) -> None:
        settings = self.settings
        passed = listeners.from_service_manager()
        self.api_socket = await listeners.obtain(self.keeper, "api", settings.host, settings.port, passed)
        self.gateway_socket = await listeners.obtain(
            self.keeper, "gateway", settings.gateway_host, settings.gateway_port, passed
        )
        self.api_url = listeners.url(self.api_socket)
        self.gateway_url = listeners.url(self.gateway_socket)

    async def _listen_to_gateway(self, stack: AsyncExitStack) -> None:
        await self.gateway.start()
        stack.push_async_callback(self.gateway.close)

    def _serve_api(self) -> None:
        bridge = Bridge(self.directory)
        drops = (self.logs.drop_deployment, self.yard.workshop.places.remove_app)
        self.removals = Removals(self.store, bridge, self.traffic, self.hub, *drops)
        self.previews = Previews(self.store, bridge, self.traffic, self.hub)
        context = make_context(
            self.settings,
            self.gateway_socket.getsockname()[1],
            world=self.world,
            bridge=bridge,
            hub=self.hub,
            logs=self.logs,
            artifacts=self.artifacts,
            traffic=self.traffic,
            removals=self.removals,
            previews=self.previews,
            native=self.native,
            docker=self.docker,
            dead_letters=self.dead_letters,
            runtime=self.runtime,
            readiness=self.readiness,
            history=self.usage,
            yard=self.yard,
        )
        self.api = make_app(context)
        self.api_server = make_server(self.api)
        self.api_server.add_sockets([self.api_socket])

    def _recover(self, records: list[dict[str, Any]]) -> None:
        found: Recovery = recover(self.world, records, self.host_restarted)
        self.aside(partial(pursue_addresses, self.world))
        runs = recover_builds(self.world, self.yard)
        self.native.end_strays((*found.known, *runs))
        self.docker.end_strays(found.known)
        self.readiness.recovered()
        self.removals.resume()
        self.previews.resume()
        self.readiness.set("store", Health.OK)
        _log.info("recovered", deployments=found.deployments, tasks=len(found.known))

    async def _start_gateway(self) -> None:
        argv = command(self.settings, self.serve_socket)
        await self.keeper.gateway(argv, environment(), ["gateway"])

    # ---- while it runs ----

    async def ready(self) -> None:
        """Returns once everything that must be there is."""
        await asyncio.wait_for(self.readiness.wait(), READY_SECS)

    @property
    def announcement(self) -> str:
        return f"platformd ready api={self.api_url} gateway={self.gateway_url} data={self.settings.data_dir}"

    def _retention(self) -> Retention:
        return make_retention(
            self.store,
            self.settings.keep_versions,
            artifacts=self.artifacts,
            uploads=self.yard.workshop.places.uploads,
            logs=self.logs,
            traffic=self.traffic,
            docker=self.docker,
            loop=self.loop,
        )

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_SECS)
            self.native.reconcile()
            self.docker.reconcile()

    def _hear_of_task(self, task_id: str, fact: TaskFact) -> None:
        """From the driver, on the loop's thread or one of its workers. After the actors are gone nobody listens."""
        on_loop = threading.get_ident() == self.loop_thread
        with contextlib.suppress(ShuttingDown), self.runtime.lent() if on_loop else contextlib.nullcontext():
            self.directory.tell(self.yard.runs.addressee(task_id), fact)

    def _from_keeper(self, event: dict[str, Any]) -> None:
        if event["op"] == "lines":
            self.hub.lines(event["deployments"])
            metrics.LOG_LINES.inc(event.get("count", 0))  # a keeper of an earlier release does not count
            return
        if event["op"] == "resynced":
            self.readiness.set("native_driver", Health.OK)
        self.native.on_keeper_event(event)

    def _keeper_lost(self) -> None:
        self.readiness.set("native_driver", Health.UNREADY, "the keeper is being replaced")

    def _from_gateway(self, report: Mapping[str, Any]) -> None:
        with self.runtime.lent():
            self.traffic.on_report(report)
        if report["op"] == "hello":
            self.gateway_gone.clear()
        elif report["op"] == "lost":
            self.gateway_gone.set()
            self.readiness.set("gateway", Health.UNREADY, "the gateway is being replaced")

    def _gateway_synced(self) -> None:
        self.readiness.set("gateway", Health.OK)
        self.native.arms.announce_all()
        heap.trim()

    def _write_line(self, deployment_id: str, task_id: str | None, text: str) -> None:
        line = {"op": "log", "deployment": deployment_id, "task": task_id or deployment_id}
        with contextlib.suppress(Unavailable):
            self.keeper.send({**line, "stream": "system", "lines": [text]})

    # ---- stop, in reverse ----

    async def _wind_down(self) -> None:
        """No new commands, requests in flight end, what was accepted is stored."""
        self.readiness.set("gateway", Health.UNREADY, "the service is stopping")
        self.directory.refuse_commands(Unavailable("the service is stopping", code="SHUTTING_DOWN"))
        self.api_server.stop()
        await self.removals.close()
        await self.previews.close()
        await self.api.close()
        self.hub.close()
        await self.loop.run_in_executor(None, self.directory.settle, SETTLE_SECS)
        await self.loop.run_in_executor(None, end_builds, self.world, self.yard)
        if self.settings.stop_tasks_on_exit:
            await self._end_tasks()
        await self.api_server.close_all_connections()

    async def _end_tasks(self) -> None:
        """Once the gateway has let the requests in flight end."""
        self.timers.stop()
        self.directory.drop()
        await self._leave_keeper()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gateway_gone.wait(), GATEWAY_ENDS_SECS)
        await self.loop.run_in_executor(None, end_all, self.world)

    async def _leave_keeper(self) -> None:
        """It ends the gateway and keeps our sockets no longer."""
        if not self.left_keeper:
            self.left_keeper = True
            await self.keeper.bye()
