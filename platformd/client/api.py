"""The two clients: all calls on a loop, and the same calls blocking.

The public face of the package; see its docstring for threads and errors.
"""

from __future__ import annotations

from platformd.client.blocking import Sockets, call, iterate
from platformd.client.builds import BuildCalls
from platformd.client.looping import Looping
from platformd.client.supervision import SupervisionCalls

TIMEOUT_SECS = PATIENCE_SECS = 30.0


class _Calls(BuildCalls, SupervisionCalls):
    """Everything that can be asked of a server, over either network."""


class AsyncClient(_Calls):
    """A server's API for a loop. ValueError for a `server` that is no URL.

    In seconds, `timeout` bounds each wait for an answer, `patience` that for a server to come back while it is followed
    or its logs are read; all other calls fail at once when nobody is there.
    """

    def __init__(
        self,
        server: str,
        token: str | None = None,
        timeout: float = TIMEOUT_SECS,
        patience: float = PATIENCE_SECS,
    ) -> None:
        super().__init__(server, token, timeout, patience, Looping())


class Client:
    """A server's API, blocking: each method of `AsyncClient`, waited for; ValueError for a `server` that is no URL."""

    def __init__(
        self,
        server: str,
        token: str | None = None,
        timeout: float = TIMEOUT_SECS,
        patience: float = PATIENCE_SECS,
    ) -> None:
        self.calls = _Calls(server, token, timeout, patience, Sockets())
        self.server = self.calls.server

    version = call(_Calls.version)

    apps = iterate(_Calls.apps)
    create_app = call(_Calls.create_app)
    app = call(_Calls.app)
    update_app = call(_Calls.update_app)
    delete_app = call(_Calls.delete_app)
    environments = call(_Calls.environments)
    variables = call(_Calls.variables)
    change_variables = call(_Calls.change_variables)
    domains = call(_Calls.domains)
    add_domain = call(_Calls.add_domain)
    remove_domain = call(_Calls.remove_domain)

    upload = call(_Calls.upload)
    artifact = call(_Calls.artifact)

    deploy = call(_Calls.deploy)
    deployments = iterate(_Calls.deployments)
    newest = call(_Calls.newest)
    deployment = call(_Calls.deployment)
    change = call(_Calls.change)
    scale = call(_Calls.scale)
    wake = call(_Calls.wake)
    sleep = call(_Calls.sleep)
    keep_awake = call(_Calls.keep_awake)
    restart = call(_Calls.restart)
    cancel = call(_Calls.cancel)
    promote = call(_Calls.promote)
    rollback = call(_Calls.rollback)
    release = call(_Calls.release)
    changes = iterate(_Calls.changes)

    tasks = iterate(_Calls.tasks)
    stop_task = call(_Calls.stop_task)
    logs = iterate(_Calls.logs)
    follow = iterate(_Calls.follow)

    source = call(_Calls.source)
    set_source = call(_Calls.set_source)
    build = call(_Calls.build)
    build_tree = call(_Calls.build_tree)
    builds = iterate(_Calls.builds)
    build_of = call(_Calls.build_of)
    cancel_build = call(_Calls.cancel_build)
    build_log = call(_Calls.build_log)
    follow_build = iterate(_Calls.follow_build)

    events = call(_Calls.events)
    follow_events = iterate(_Calls.follow_events)
    actors = iterate(_Calls.actors)
    restart_actor = call(_Calls.restart_actor)
    resume_actor = call(_Calls.resume_actor)
    dead_letters = iterate(_Calls.dead_letters)
    tokens = iterate(_Calls.tokens)
    create_token = call(_Calls.create_token)
    revoke_token = call(_Calls.revoke_token)
