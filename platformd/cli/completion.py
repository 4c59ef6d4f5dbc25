"""`platformd completion`: what a shell reads to complete commands, options, apps and deployments. Single-threaded."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_PLATFORMD_COMPLETE"  # where click looks for what the shell asks


@click.command(
    epilog="Example: platformd completion bash > ~/.local/share/bash-completion/completions/platformd"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes platformd's commands, apps and deployments.

    For zsh, put it into a folder of its `fpath` as `_platformd`; for fish, into
    ~/.config/fish/completions/platformd.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "platformd", _VARIABLE).source())
