"""`platformd backup` and `platformd restore`: work on the data directory, without asking a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from platformd import backup as archives
from platformd.cli.options import with_settings
from platformd.cli.remote import end
from platformd.config import Settings
from platformd.errors import PlatformError

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print what the archive has as JSON.")
_FILE = click.Path(dir_okay=False, path_type=Path)


def _failing(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def call(**given: Any) -> Any:
        try:
            return command(**given)
        except (PlatformError, OSError) as error:
            end(str(error))

    return call


@click.command(epilog="Example: platformd backup /backups/platformd.tar --data-dir ./data")
@click.argument("file", type=_FILE)
@click.option(
    "--without-artifacts", is_flag=True, help="Leave the executables out; the manifest still names them."
)
@_AS_JSON
@with_settings("data_dir", "database")
@_failing
def backup(settings: Settings, file: Path, without_artifacts: bool, as_json: bool) -> None:
    """Copy database, key and artifacts into FILE, as they are at one instant; a server may be running.

    FILE opens every secret: it is readable to its owner only, and should stay so.
    """
    found = archives.back_up(
        settings.data_dir, settings.database_path, file, with_artifacts=not without_artifacts
    )
    if as_json:
        _print(file, found, found.missing)
        return
    click.echo(f"wrote {file}: database, key, {found.artifacts} artifacts")
    if found.missing:
        click.echo(f"left out {len(found.missing)} artifacts", err=True)


@click.command(epilog="Example: platformd restore /backups/platformd.tar --data-dir ./data")
@click.argument("file", type=_FILE)
@_AS_JSON
@with_settings("data_dir", "database")
@_failing
def restore(settings: Settings, file: Path, as_json: bool) -> None:
    """Make the data directory what it was when FILE was written. No server may hold it.

    The database and the key that were there stay beside the restored ones, with `.before-restore` at their ends.
    """
    found = archives.restore(file, settings.data_dir, settings.database_path)
    absent = [sha256 for sha256 in found.missing if not (settings.data_dir / "artifacts" / sha256).exists()]
    if as_json:
        _print(file, found, absent)
        return
    click.echo(f"restored {settings.data_dir} as of {found.created_at}, {found.artifacts} artifacts")
    if absent:
        click.echo("these artifacts have no bytes, put them into artifacts/ under their names:", err=True)
        for sha256 in absent:
            click.echo(f"  {sha256}", err=True)


def _print(file: Path, found: archives.Contents, missing: Sequence[str]) -> None:
    about = {"file": str(file), "created_at": found.created_at, "artifacts": found.artifacts}
    click.echo(json.dumps(about | {"missing_artifacts": list(missing)}))
