"""Parts of a server that take some putting together, foremost what handlers are given.

Called by `platformd.app` once, while it starts; what it makes is called on the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from actors.bridge import Bridge
from actors.build import BuildYard
from actors.build_requests import BuildRequests
from actors.build_turns import BuildTurns
from actors.commits import Commits
from actors.configuration import Configuration
from actors.creations import Creations, introduce
from actors.dead_letters import DeadLetters
from actors.deployment import Fired
from actors.directory import Directory
from actors.hooks import Hooks
from actors.inspection import Inspection
from actors.measures import Measures
from actors.messages import Key, ShuttingDown
from actors.previews import Previews
from actors.removal import Removals
from actors.retention import Expiring, Retention, of_rows
from actors.runtime import PoolRuntime
from actors.traffic import GatewayTraffic
from actors.usage import UsageHistory
from actors.world import World
from handlers.context import Context
from platformd import __version__, clock, node, views
from platformd.artifacts import ArtifactFiles, SentTrees
from platformd.build_views import BuildViews
from platformd.builds import Places, Workshop, WorkshopSettings
from platformd.config import Settings
from platformd.configuration_views import ConfigurationViews
from platformd.domain.build.messages import Begun
from platformd.domain.deployment.images import needed
from platformd.domain.naming import Addresses
from platformd.domain.policy import OUTPUT_KEPT
from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker.composition import instance
from platformd.drivers.docker.driver import DockerDriver
from platformd.drivers.docker.settings import engine_address
from platformd.drivers.launch_order import task_owner
from platformd.drivers.native import NativeDriver
from platformd.errors import Conflict, PlatformError, Unavailable
from platformd.github.client import GitHubClient
from platformd.github.reporter import Reporter
from platformd.hub import Event, Hub
from platformd.links.keeper import KeeperLink
from platformd.logstore import LogStore
from platformd.observability import get_logger
from platformd.readiness import Health, Readiness
from platformd.secrets import Vault
from platformd.store import Store, expiring
from platformd.store.retries import kept
from platformd.token_views import TokenViews
from platformd.webhook_views import WebhookViews

_log = get_logger("app")
RECORDED_WITHIN = timedelta(days=1)  # the bytes of an upload, by the row of their artifact


def anchor_clock(store: Store) -> bool:
    """Have the steady clock go on from where this boot of the host began; False when the host was restarted since."""
    stored = store.anchor()
    known = stored is not None
    if stored is None:
        stored = clock.new_anchor()
        store.save_anchor(stored)
    clock.anchor(stored)
    return known


def arm_wakes(native: NativeDriver, traffic: GatewayTraffic, directory: Directory) -> None:
    """What is armed is told to the gateway, what it fired to the deployment."""

    def fired(order: LaunchOrder) -> None:
        with contextlib.suppress(ShuttingDown):
            directory.tell(Key("deployment", order.deployment_id), Fired(order))

    native.arms.announce = traffic.armed
    native.arms.on_fired = fired


def make_context(
    settings: Settings,
    gateway_port: int,
    *,
    world: World,
    bridge: Bridge,
    hub: Hub,
    logs: LogStore,
    artifacts: ArtifactFiles,
    traffic: GatewayTraffic,
    removals: Removals,
    previews: Previews,
    native: NativeDriver,
    docker: DockerDriver,
    dead_letters: DeadLetters,
    runtime: PoolRuntime,
    readiness: Readiness,
    history: UsageHistory,
    yard: BuildYard,
) -> Context:
    """`gateway_port` is the one that is bound, shown in addresses unless the settings name another."""
    store = world.store
    addresses = _addresses(settings, gateway_port)

    def usage(task_id: str) -> views.Usage | None:
        used = native.usage([task_id]).get(task_id) or docker.usage([task_id]).get(task_id)
        return None if used is None else views.Usage(used.cpu_percent, used.memory_bytes)

    def load(deployment_id: str) -> views.Load | None:
        found = traffic.loads.get(deployment_id)
        return None if found is None else views.Load(found.inflight, found.held)

    def capabilities() -> Mapping[str, tuple[bool, str]]:
        return {"cgroups": (native.has_cgroups, native.describe())}

    async def say(deployment_id: str, message: str) -> None:
        world.write_line(deployment_id, None, message)

    commits = Commits(store)
    requests = BuildRequests(commits, world, yard, settings.build_timeout)
    measures = Measures(store, world.directory, runtime, traffic, readiness, __version__)
    return Context(
        settings=settings,
        views=views.Views(store, addresses, usage=usage, load=load, stale=docker.stale),
        configured=ConfigurationViews(store.reader, addresses),
        hub=hub,
        logs=logs,
        artifacts=artifacts,
        trees=yard.workshop.places.uploads,
        writes=Creations(commits, world.directory, traffic, settings.domain),
        configuration=Configuration(commits, traffic),
        removals=removals,
        builds=requests,
        built=BuildViews(store.reader),
        webhooks=WebhookViews(store.reader),
        hooks=Hooks(
            commits,
            previews,
            requests.announce,
            domain=settings.domain,
            build_timeout_secs=settings.build_timeout,
        ),
        vault=world.vault,
        tokens=TokenViews(store.reader),
        write_behind=store.commit,
        answered=lambda key_id: kept(store.reader, key_id, clock.now()),
        supervision=Inspection(world.directory, store, dead_letters),
        usage=history,
        node=lambda: node.describe(capabilities()),
        ask=lambda kind, id, message: bridge.ask_async(Key(kind, id), message),
        ready=lambda: _readyz(store, readiness),
        metrics=measures.exposition,
        version=__version__,
        deployment=store.deployment,
        say=say,
        recovering=lambda: readiness.recovering,
    )


def make_retention(
    store: Store,
    keep_versions: int,
    *,
    artifacts: ArtifactFiles,
    uploads: SentTrees,
    logs: LogStore,
    traffic: GatewayTraffic,
    docker: DockerDriver,
    loop: asyncio.AbstractEventLoop,
) -> Retention:
    """What is not kept for ever, in the order in which it goes."""

    def gone(ids: list[str], hostnames: tuple[str, ...]) -> None:
        loop.call_soon_threadsafe(traffic.forget_deployments, ids)
        traffic.forget_hosts(hostnames)
        for id in ids:
            logs.drop_deployment(id)

    def output(now: datetime) -> int:
        before = now - OUTPUT_KEPT
        return logs.expire(before, keep=expiring.writers_since(store.reader, before))

    def strays(now: datetime) -> int:
        known = expiring.known_bytes(store.reader)
        return uploads.tidy() + artifacts.sweep(known, now - RECORDED_WITHIN)

    def images(_: datetime) -> int:
        return docker.drop_images(lambda: needed(store.deployments()) | expiring.known_images(store.reader))

    rows = of_rows(store, keep_versions, gone)
    others = (Expiring("output", output), Expiring("files", strays), Expiring("images", images))
    return Retention((*rows, *others))


def make_yard(
    settings: Settings, world: World, artifacts: ArtifactFiles, send: Callable[[dict[str, Any]], None]
) -> BuildYard:
    """What builds are made by; `send` goes to the keeper, which keeps their logs."""

    def begin(build_id: str) -> None:
        tell(build_id, Begun())

    def tell(build_id: str, fact: object) -> None:
        with contextlib.suppress(ShuttingDown):
            world.directory.tell(Key("build", build_id), fact)

    def say(build_id: str, lines: Sequence[str]) -> None:
        message = {"op": "log", "deployment": build_id, "task": build_id, "stream": "stdout"}
        with contextlib.suppress(Unavailable):
            send({**message, "lines": list(lines)})

    workshop = Workshop(
        settings=WorkshopSettings(
            github_url=settings.github_url,
            github_ssh_url=settings.github_by_ssh,
            source_limit=settings.build_source_limit << 20,
            memory=settings.build_memory << 20,
            at_once=settings.builds_at_once,
            engine=engine_address(settings.docker_host),
            instance=instance(settings.data_dir),
        ),
        places=Places(
            settings.data_dir,
            task_owner(settings.run_as),
            lambda: expiring.known_uploads(world.store.reader),
        ),
        store=world.store,
        artifacts=artifacts,
        vault=world.vault,
        say=say,
        tell=tell,
    )
    return BuildYard(
        workshop=workshop,
        turns=BuildTurns(settings.builds_at_once, begin),
        introduce=partial(introduce, world.directory, world.traffic),
        domain=settings.domain,
        memory=settings.build_memory << 20,
    )


def told_to_github(
    stack: AsyncExitStack, settings: Settings, gateway: socket.socket, store: Store, vault: Vault
) -> Callable[[Sequence[Event]], None]:
    """Start telling GitHub, until `stack` ends; what is to hear of each commit's events."""
    addresses = _addresses(settings, gateway.getsockname()[1])
    reporter = Reporter(store, vault, GitHubClient(settings.github_api_url), addresses)
    reporter.start()
    stack.callback(reporter.close)
    return reporter.heard


def refuse_without_tokens(settings: Settings, store: Store) -> None:
    """Conflict NO_TOKENS where tokens are needed and nobody has one."""
    if settings.tokens_required and not TokenViews(store.reader).any_valid():
        raise Conflict(
            f"the API on {settings.host} needs tokens and there is none: make one with `platformd token create "
            f"--name NAME --scope admin --data-dir {settings.data_dir}`, or bind it to 127.0.0.1 without "
            "--require-token",
            code="NO_TOKENS",
        )


async def upgraded(keeper: KeeperLink) -> None:
    """The keeper of an earlier release becomes this one's in place; it goes on as it is when it cannot."""
    try:
        version = await keeper.upgrade()
    except PlatformError as error:
        _log.error("the keeper could not be upgraded and goes on as it is", detail=str(error))
    else:
        _log.info("keeper upgraded", version=version)


def _addresses(settings: Settings, gateway_port: int) -> Addresses:
    return Addresses(
        scheme=settings.public_scheme, domain=settings.domain, port=settings.shown_port(gateway_port)
    )


def _readyz(store: Store, readiness: Readiness) -> Mapping[str, Any]:
    health = Health.OK if store.accepts_writes else Health.DEGRADED
    readiness.set("store", health, "the disk refuses writes: nothing can be changed until there is room")
    return readiness()
