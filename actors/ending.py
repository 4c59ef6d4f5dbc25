"""Ending what is under way in an app or in one of its environments, and waiting until it has ended.

Called by what takes apps and previews away, on the loop's thread. Orders go to the actors, whose rows tell of the end.
"""

from __future__ import annotations

import contextlib

from actors.bridge import Bridge
from actors.messages import Key
from platformd.domain import commands
from platformd.domain.build.messages import Cancel as CancelBuild
from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment
from platformd.errors import InvalidState
from platformd.hub import Hub
from platformd.store import Store

LOOKS_AGAIN_SECS = 1.0


async def end_deployments(store: Store, bridge: Bridge, hub: Hub, where: str, *values: object) -> None:
    """Cancel the deployments that meet `where` (SQL over their columns) until none of them is unfinished."""
    unfinished = f"WHERE ({where}) AND phase != 'done' ORDER BY version"
    asked: set[str] = set()
    while found := list(store.reader.all(Deployment, unfinished, *values)):
        for deployment in found:
            if deployment.id not in asked and not deployment.status.final:
                with contextlib.suppress(InvalidState):  # it finished by itself
                    await bridge.ask_async(Key("deployment", deployment.id), commands.Cancel())
            asked.add(deployment.id)
        await hub.wait_revision("deployment", found[0].id, found[0].revision, LOOKS_AGAIN_SECS)


async def end_builds(store: Store, bridge: Bridge, hub: Hub, where: str, *values: object) -> None:
    """As `end_deployments`, of builds."""
    asked: set[str] = set()
    while found := list(
        store.reader.all(Build, f"WHERE ({where}) AND live = 1 ORDER BY created_at", *values)
    ):
        for build in found:
            if build.id not in asked and not build.state.final:
                with contextlib.suppress(InvalidState):
                    await bridge.ask_async(Key("build", build.id), CancelBuild())
            asked.add(build.id)
        await hub.wait_revision("build", found[0].id, found[0].revision, LOOKS_AGAIN_SECS)
