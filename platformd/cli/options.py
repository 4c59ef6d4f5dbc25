"""Command-line options made from the table of settings, for the commands that run or inspect a server.

Used as a decorator by `serve` and `doctor`; single-threaded. Values stay text here: `platformd.config` reads
them, so that a flag, a variable and a key in the file are judged by the same rule and in the same words.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from platformd import config
from platformd.setting_kinds import show


def with_settings(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command the flags of the settings `names` (none: of all) and calls it with `settings=`.

    Further options of the command are passed on. Faulty settings end the command as wrong usage: exit 2.
    """
    rows = [config.BY_NAME[name] for name in names] if names else list(config.TABLE)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call(**given: Any) -> Any:
            flags = {name: given.pop(name) for name in (config.CONFIG_FLAG, *(row.name for row in rows))}
            try:
                settings = config.load(flags)
            except config.SettingsError as error:
                raise click.UsageError(str(error)) from None
            return command(settings=settings, **given)

        optioned: Callable[..., Any] = call
        for row in reversed(rows):
            optioned = _option(row)(optioned)
        return click.option("--config", metavar="FILE", help="TOML file with any setting.")(optioned)

    return decorate


def _option(row: config.Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    default = show(row.default)
    help = f"{row.help} [default: {default}]" if default and not row.kind.switch else row.help
    help = help.replace("`", "")
    if row.kind.switch:
        return click.option(f"{row.flag}/--no-{row.flag[2:]}", row.name, default=None, help=help)
    return click.option(row.flag, row.name, metavar=row.kind.metavar, multiple=row.kind.many, help=help)
