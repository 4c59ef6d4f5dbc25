"""`platformd demo`: a server of its own with a small app on it, to see an app sleep and wake. Nothing is left behind.

The main thread does everything; a signal ends it wherever it is.
"""

from __future__ import annotations

import http.client
import shlex
import statistics
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import click

from platformd import __version__, clock
from platformd.cli import show
from platformd.cli.local import (
    Ended,
    LocalServer,
    LocalServerFailed,
    ended_by_signals,
    temporary_folder,
)
from platformd.cli.machine import listening
from platformd.cli.remote import DEFAULT_SERVER, console, end
from platformd.cli.scripts import Script, executable
from platformd.client import Client, ClientError, Deployment

APP = "hello"
SOURCE = Path(__file__).with_name("demo_app.py")
WARM_REQUESTS = 20
_API_PORT, _GATEWAY_PORT = 47080, 47000


@click.command(epilog="Example: platformd demo --idle 30")
@click.option(
    "--idle",
    type=click.IntRange(1, 3600),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="Seconds until the app sleeps.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help=f"Port of the API. [default: {_API_PORT}, if free]",
)
@click.option(
    "--gateway-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help=f"Port of the gateway. [default: {_GATEWAY_PORT}, if free]",
)
def demo(idle: int, port: int | None, gateway_port: int | None) -> None:
    """Show it: an app that sleeps and is woken.

    Runs a server in a temporary folder with a small app on it until Ctrl-C, and leaves nothing behind.
    """
    port = _free(_API_PORT) if port is None else port
    gateway_port = _free(_GATEWAY_PORT) if gateway_port is None else gateway_port
    flags = ("--port", str(port), "--gateway-port", str(gateway_port))
    try:
        with ended_by_signals(), temporary_folder("demo") as folder:
            script = executable(SOURCE, folder / APP, options="-IS")
            if script is None:
                raise LocalServerFailed(f"nothing can be started in {folder}; name another place with TMPDIR")
            with LocalServer(folder, *flags, *script.flags) as server:
                server.start()
                _Show(server, folder, idle).run(script)
    except Ended:
        click.echo("\nAll of it is gone again.")
    except (LocalServerFailed, ClientError, OSError) as error:
        end(str(error))


def _free(port: int) -> int:
    """`port`, or 0 for any when it is taken."""
    return port if listening("port", "--port", "127.0.0.1", port).status == "ok" else 0


class _Show:
    """What is shown on one server."""

    def __init__(self, server: LocalServer, folder: Path, idle: int) -> None:
        self._server = server
        self._folder = folder
        self._idle = idle
        self._client: Client = server.client
        self._screen = console()
        gateway = urlsplit(server.gateway_url)
        self._host, self._port = gateway.hostname or "", gateway.port

    def run(self, script: Script) -> None:
        self._screen.print(f"platformd {__version__}", style="bold", end="")
        self._screen.print(f"   api {self._server.api_url}   gateway {self._server.gateway_url}")
        self._screen.print(f"Everything is in {self._folder} and goes when this ends.\n", style="dim")
        deployment = self._deploy(script)
        self._visit(urlsplit(deployment["preview_url"]).hostname or "", deployment)
        self._suggest(deployment)
        self._watch(deployment)

    def _deploy(self, script: Script) -> Deployment:
        app = self._client.create_app(APP)
        artifact = self._client.upload(script.path)
        begun = clock.monotonic()
        body = {
            "artifact_id": artifact["id"],
            "environment": "production",
            "idle_timeout_secs": self._idle,
        }
        deployment = self._client.deploy(app["id"], body)
        self._step("deployed", f"{APP}@1, a Python script of {show.size(artifact['size'])}")
        deployment = self._until(deployment["id"], "ready")
        self._step("ready", f"after {show.duration(clock.monotonic() - begun)}", "green")
        return deployment

    def _visit(self, name: str, deployment: Deployment) -> None:
        warm = statistics.median(self._request(name)[0] for _ in range(WARM_REQUESTS))
        self._step("request", f"answered in {show.duration(warm)}, the median of {WARM_REQUESTS}")
        seconds = "a second" if self._idle == 1 else f"{self._idle} seconds"
        self._step("…", f"nobody calls for {seconds}", "dim")
        self._until(deployment["id"], "asleep")
        self._step("asleep", "its process is gone, its address stays", "cyan")
        cold, said = self._request(name)
        self._step("woken", f"by a request, which was answered in {show.duration(cold)}:", "green")
        self._step("", said, "italic")

    def _request(self, name: str) -> tuple[float, str]:
        """One request through the gateway: its seconds and its answer."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        begun = clock.monotonic()
        try:
            connection.request("GET", "/", headers={"Host": name})
            said = connection.getresponse().read().decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise LocalServerFailed(f"the gateway does not answer: {error}\n{self._server.tail()}") from None
        finally:
            connection.close()
        return clock.monotonic() - begun, said

    def _until(self, deployment_id: str, phase: str) -> Deployment:
        for seen in self._client.changes(deployment_id):
            if seen["phase"] == phase:
                return seen
            if seen["status"] in ("failed", "cancelled"):
                raise LocalServerFailed(f"the app {seen['status']}: {show.reason(seen['reason'])}")
        raise AssertionError("unreachable: changes have no end")

    def _suggest(self, deployment: Deployment) -> None:
        host = f"{APP}-default.localhost"
        program = _program(self._server.api_url)
        lines = (
            (f"curl http://{host}:{self._port}/", "wakes it when it sleeps"),
            (f"curl -H 'Host: {host}' http://{self._host}:{self._port}/", "where .localhost is not known"),
            (f"{program} ps", "who is awake"),
            (f"{program} logs {APP}@1 -f", "what it prints"),
            (f"{program} scale {APP}@1 3", "three of them; all sleep together"),
            (f"{self._server.api_url}/", "the dashboard, in a browser"),
            (f"curl {self._server.api_url}/api/v1/deployments/{deployment['id']}", "the API"),
        )
        self._screen.print("\nTry next, in another terminal:", style="bold")
        width = min(max(len(line) for line, _ in lines[:-1]), 80)
        for line, why in lines:
            self._screen.print(f"  {line:<{width}}  ", end="", soft_wrap=True)
            self._screen.print(f"# {why}", style="dim", soft_wrap=True)
        self._screen.print("\nWhat happens to it is shown here; Ctrl-C ends it all.", style="bold")

    def _watch(self, deployment: Deployment) -> None:
        said = ""
        for seen in self._client.changes(deployment["id"]):
            word = seen["status"] if seen["phase"] == "done" else seen["phase"]
            tasks = f", {seen['tasks_ready']} tasks" if seen["tasks_total"] > 1 else ""
            told = f"{word}{tasks}"
            if told != said and word not in ("waking", "draining", "updating"):
                at = datetime.fromisoformat(seen["updated_at"]).astimezone()
                self._step(f"{at:%H:%M:%S}", told, show.STYLES.get(word))
            said = told

    def _step(self, word: str, text: str, style: str | None = None) -> None:
        self._screen.print(f"  {word:<9} ", style="bold", end="")
        self._screen.print(text, style=style, soft_wrap=True)


def _program(api_url: str) -> str:
    """How this program is called from here, for the server that runs now."""
    called = Path(sys.argv[0])
    program = "platformd" if called.name == "platformd" and not called.parent.parts else str(called)
    if called.name == "__main__.py":
        program = f"{shlex.quote(sys.executable)} -m platformd"
    return program if api_url == DEFAULT_SERVER else f"PLATFORMD_SERVER={api_url} {program}"
