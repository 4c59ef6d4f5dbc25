"""The command entry: `platformd` and `python -m platformd`. Loads a command's code when it is asked for."""

from __future__ import annotations

import importlib
import sys

import click
from click.exceptions import NoSuchCommand

from platformd import __version__, cli, config
from platformd.cli.options import with_settings


class _Commands(click.Group):
    """`serve`, which lives here, and whatever `platformd.cli.COMMANDS` names."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return [*self.commands, *cli.COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in cli.COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = cli.COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as unknown:  # names are known here that are not loaded
            names = self.list_commands(ctx)
            raise NoSuchCommand(unknown.command_name, possibilities=names, ctx=ctx) from None


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="platformd")
def main() -> None:
    """Run versions of apps, let them sleep when nobody calls, wake them on traffic."""


@main.command(epilog="Example: platformd serve --data-dir ./data --port 0 --gateway-port 0")
@with_settings()
def serve(settings: config.Settings) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Each option may also be given as an environment variable (--data-dir as PLATFORMD_DATA_DIR) or as a key in
    the file named by --config (data_dir). A flag beats the environment, the environment beats the file.
    """
    from platformd.app import serve as run_server

    sys.exit(run_server(settings))


if __name__ == "__main__":
    main(prog_name="platformd")
