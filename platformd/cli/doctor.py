"""`platformd doctor`: what this machine offers, one line each, and what to do about what it lacks.

Reads only, apart from a probing cgroup that it makes and removes, and needs no server. Single-threaded. The
checks of the machine itself are in `platformd.cli.machine`.
"""

from __future__ import annotations

import json
import sys

import click

from platformd.cli import machine
from platformd.cli.machine import Check
from platformd.cli.options import with_settings
from platformd.config import Settings

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def examine(settings: Settings) -> list[Check]:
    """Every check, in the order in which they are shown."""
    return [
        machine.python(),
        machine.kernel(),
        *machine.cgroups(),
        machine.exit_codes(),
        machine.account(settings.run_as),
        machine.descriptors(),
        machine.task_ports(settings.task_ports),
        machine.listening("api port", "--port", settings.host, settings.port),
        machine.listening("gateway port", "--gateway-port", settings.gateway_host, settings.gateway_port),
        machine.data_directory(settings.data_dir),
        machine.engine(settings.docker_host),
        machine.clocks(),
        machine.compiler(),
    ]


@click.command(epilog="Example: platformd doctor --data-dir /srv/platformd --json")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@with_settings(
    "data_dir", "host", "port", "gateway_host", "gateway_port", "run_as", "task_ports", "docker_host"
)
def doctor(settings: Settings, as_json: bool) -> None:
    """Say what this machine offers to platformd, and what to do about what it lacks.

    Exits with 1 when something is found that platformd cannot run without.
    """
    checks = examine(settings)
    if as_json:
        click.echo(json.dumps([check.describe() for check in checks], indent=2))
    else:
        for check in checks:
            mark, colour = _MARKS[check.status]
            advice = f" -> {check.advice}" if check.advice else ""
            click.echo(f"{click.style(mark, fg=colour)}  {check.name:<15} {check.finding}{advice}")
    sys.exit(any(check.status == "fail" for check in checks))
