"""The manual's page about the command line, made from the commands: `python -m tests.cli.reference` writes it anew."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from platformd.__main__ import main
from platformd.config import TABLE

PAGE = Path(__file__).parents[2] / "platformd" / "docs" / "cli.md"
HEAD = """\
# Command line

<!-- Made from the commands by tests/cli/reference.py. -->

One program, `platformd`, also `python -m platformd`. It ends with 0 when all went well, 1 when what was asked for
failed, 2 when it was called wrongly, 3 when the server cannot be reached. `--json` prints what the API answered, for
programs; an answer without a body prints nothing. Colours and progress bars appear on a terminal only.

Commands that call a server find it by `--server`, else `PLATFORMD_SERVER`, else at `http://127.0.0.1:47080`, and show
it `--token` or `PLATFORMD_TOKEN`. The others work on this machine; `serve` and those that look into a data directory
take the [settings](settings.md).

An app is named by its name, `namespace/name`, or id; a deployment by its id, the beginning of one, or `app@version`.
`platformd completion bash`, `zsh` or `fish` prints what completes commands and names.

## platformd.yaml

What a folder says of itself: in it, `platformd deploy` needs no argument. What is given on the command line wins;
variables are merged. All keys may be left out, unknown ones are refused, values are the API's.

```yaml
name: shop
namespace: team
build:                      # without an image: the file that is deployed; `deploy` does not build it
  artifact_path: out/shop
deploy:
  replicas: 2
  process_type: tish        # or docker, then with an image
  env: {LOG_LEVEL: info}
  idle_timeout_secs: 600
  max_runtime_secs: 86400
  volumes: [{host_path: /data/shop, container_path: /data/shop}]
resources: {cpu: 250m, memory: 256Mi}
networking:
  port: 8080
  protocol: http
  health_check: {path: /health, interval: 10s, timeout: 5s}
```
"""
# Said once above, or on the page of the settings.
SAID_ONCE = {"--help", "--server", "--token", "--json", "--config", *(row.flag for row in TABLE)}


def page() -> str:
    """All of it."""
    context = click.Context(main, info_name="platformd")
    parts = [HEAD, *_commands(main, context)]
    return "\n".join(parts)


def leaves(
    group: click.Group = main, context: click.Context | None = None
) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by how it is called."""
    context = context or click.Context(main, info_name="platformd")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from leaves(command, below)
        else:
            yield below.command_path, command


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for path, command in leaves(group, context):
        below = click.Context(command, info_name=path)
        usage = " ".join(piece for piece in command.collect_usage_pieces(below))
        yield f"## {path}\n"
        yield f"```\n{path} {usage}\n```\n"
        yield _prose(command.help or "") + "\n"
        rows = [row for parameter in command.params if (row := _row(parameter, below))]
        if rows:
            yield "| option | meaning |\n|---|---|"
            yield "\n".join(rows) + "\n"
        _, _, example = (command.epilog or "").partition("Example: ")
        yield f"```sh\n{example}\n```\n"


def _prose(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _row(parameter: click.Parameter, context: click.Context) -> str | None:
    if isinstance(parameter, click.Argument) or SAID_ONCE & set(parameter.opts):
        return None
    record = parameter.get_help_record(context)
    if record is None:
        return None
    names, help = (text.replace("|", "\\|") for text in record)
    return f"| `{names}` | {' '.join(help.split())} |"


if __name__ == "__main__":
    PAGE.write_text(page())
