"""`platformd bench …`: the commands; each measurement is a module beside this one, loaded when it is asked for."""

from __future__ import annotations

import functools
import resource
from collections.abc import Callable
from typing import Any

import click

from platformd.cli.bench.floors import CannotMeasure
from platformd.cli.bench.report import Report
from platformd.cli.local import Ended, LocalServerFailed, ended_by_signals
from platformd.cli.remote import console, end
from platformd.client import ClientError


@click.group()
def bench() -> None:
    """Measure a server against floors in the same run.

    Each measurement starts a server of its own in a temporary folder and leaves nothing behind. It compiles the C
    programs that it compares with.
    """


def _measurement(measure: Callable[..., Report]) -> Callable[..., None]:
    """Gives a command --json, prints what it reports, and ends it well, whether goals were met or not."""

    @click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
    @functools.wraps(measure)
    def call(as_json: bool, **given: Any) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection each, for a thousand requests
        screen = console(stderr=True)
        try:
            with ended_by_signals():
                if screen.is_terminal:
                    with screen.status("measuring"):
                        report = measure(**given)
                else:
                    report = measure(**given)
        except Ended:
            end("ended before there was anything to report")
        except (CannotMeasure, LocalServerFailed, ClientError, OSError) as error:
            end(str(error))
        report.shown(as_json)

    return call


_driver = click.option(
    "--driver",
    type=click.Choice(["native", "docker"]),
    default="native",
    show_default=True,
    help="docker: on the engine of DOCKER_HOST, else of the default socket.",
)


@bench.command("cold-start", epilog="Example: platformd bench cold-start --sleeping 10000")
@click.option("--wakes", type=click.IntRange(1, 1000), default=200, show_default=True, metavar="N")
@click.option(
    "--sleeping",
    type=click.IntRange(0, 100_000),
    default=0,
    metavar="N",
    help="Also among so many sleeping others.",
)
@_driver
@_measurement
def cold_start(wakes: int, sleeping: int, driver: str) -> Report:
    """From a request to a sleeping app to its first byte.

    Over the C floor, which starts the same server in the same rhythm, 50 ms apart; with --driver docker over the same
    engine's bare start of a container that is there already.
    """
    if driver == "docker":
        if sleeping:
            raise click.UsageError("--sleeping is for native apps: it says nothing about an engine")
        from platformd.cli.bench import containers

        return containers.measure_wakes(wakes)
    from platformd.cli.bench.wakes import measure

    return measure(wakes, sleeping)


@bench.command(epilog="Example: platformd bench thaw --thaws 50")
@click.option("--thaws", type=click.IntRange(1, 1000), default=200, show_default=True, metavar="N")
@_driver
@_measurement
def thaw(thaws: int, driver: str) -> Report:
    """From a request to a frozen app to its first byte.

    Beside requests to the same app while it runs, 50 ms apart; with --driver docker also beside the engine's bare
    unpause.
    """
    if driver == "docker":
        from platformd.cli.bench import containers

        return containers.measure_thaws(thaws)
    from platformd.cli.bench.thaws import measure

    return measure(thaws)


@bench.command(epilog="Example: platformd bench herd --clients 500")
@click.option("--clients", type=click.IntRange(1, 1024), default=1000, show_default=True, metavar="N")
@_measurement
def herd(clients: int) -> Report:
    """Many requests at once for one sleeping app.

    A tiny server in C, and an unmodified python3 -m http.server.
    """
    from platformd.cli.bench.herd import measure

    return measure(clients)


@bench.command(epilog="Example: platformd bench warm --seconds 10")
@click.option(
    "--seconds", type=click.IntRange(1, 30), default=5, show_default=True, metavar="N", help="A round."
)
@click.option("--rounds", type=click.IntRange(1, 5), default=3, show_default=True, metavar="N")
@_measurement
def warm(seconds: int, rounds: int) -> Report:
    """Requests per second through the gateway.

    Beside nginx and no proxy at all, with the same upstream, each proxy on one core. Needs wrk; nginx to compare.
    """
    from platformd.cli.bench.warm import measure

    return measure(seconds, rounds)


@bench.command(epilog="Example: platformd bench fleet --apps 200 --sleeping 10000")
@click.option(
    "--apps", type=click.IntRange(1, 1000), default=200, show_default=True, metavar="N", help="Woken at once."
)
@click.option("--sleeping", type=click.IntRange(1, 100_000), default=10_000, show_default=True, metavar="N")
@_measurement
def fleet(apps: int, sleeping: int) -> Report:
    """Many sleeping apps: woken at once, and what they cost.

    How fast many different ones wake at once, over the C floor; what each costs asleep; how long a server with many
    takes to start and to end.
    """
    from platformd.cli.bench.fleet import measure

    return measure(apps, max(apps, sleeping))


@bench.command(epilog="Example: platformd bench api --stored 10000")
@click.option("--stored", type=click.IntRange(100, 100_000), default=10_000, show_default=True, metavar="N")
@click.option(
    "--seconds", type=click.IntRange(1, 30), default=5, show_default=True, metavar="N", help="Of each load."
)
@_measurement
def api(stored: int, seconds: int) -> Report:
    """Calls of the API per second.

    Status reads and durable creations of sleeping deployments, as fast as they are answered and at half the goal, with
    many deployments in the store.
    """
    from platformd.cli.bench.api import measure

    return measure(stored, seconds)


@bench.command(epilog="Example: platformd bench sse --readers 1000 --rate 100")
@click.option("--readers", type=click.IntRange(1, 5000), default=1000, show_default=True, metavar="N")
@click.option(
    "--rate",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    metavar="N",
    help="Lines a second.",
)
@click.option("--seconds", type=click.IntRange(1, 60), default=10, show_default=True, metavar="N")
@_measurement
def sse(readers: int, rate: int, seconds: int) -> Report:
    """Many readers of one app's output.

    What it costs the server to send each line to each, and how late lines arrive.
    """
    from platformd.cli.bench.sse import measure

    return measure(readers, rate, seconds)
