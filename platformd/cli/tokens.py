"""`platformd token`: works on the data directory, with or without a server on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
from rich.console import Console

from platformd import clock, datadir, ids
from platformd.cli import show
from platformd.cli.options import with_settings
from platformd.cli.remote import end
from platformd.config import Settings
from platformd.domain.token import (
    DEFAULT_SCOPE,
    SECRET_PREFIX,
    SHOWN,
    CreateToken,
    RevokeToken,
    Scope,
    digest,
)
from platformd.errors import NotFound, PlatformError
from platformd.store import Page, Store
from platformd.token_views import TokenViews, render

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as the API would answer.")
_SCOPES = click.Choice([scope.value for scope in Scope])


def _failing(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def call(**given: Any) -> Any:
        try:
            return command(**given)
        except (PlatformError, OSError) as error:
            end(str(error))

    return call


@contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    datadir.prepare(settings.data_dir)
    store = Store.open(settings.data_dir, path=settings.database_path)
    try:
        yield store
    finally:
        store.close()


@click.group()
def token() -> None:
    """Make, list and revoke API tokens, in the data directory itself."""


@token.command(epilog="Example: platformd token create --name ci --scope deploy --app shop")
@click.option("--name", required=True, help="What people know it by.")
@click.option("--scope", type=_SCOPES, default=DEFAULT_SCOPE.value, show_default=True, help="What it allows.")
@click.option("--app", metavar="APP", help="The only app it is for: name, namespace/name or id.")
@_AS_JSON
@with_settings("data_dir", "database")
@_failing
def create(settings: Settings, name: str, scope: str, app: str | None, as_json: bool) -> None:
    """Make a token and print its secret, which is shown this once."""
    secret = ids.new_secret(SECRET_PREFIX)
    with _store(settings) as store:
        app_id = None if app is None else _app_id(store, app)
        order = CreateToken(
            name=name,
            scope=Scope(scope),
            app_id=app_id,
            digest=digest(secret),
            prefix=secret[:SHOWN],
            at=clock.now(),
        )
        made = store.commit(order).result()
    if as_json:
        click.echo(json.dumps(render(made) | {"token": secret}))
        return
    click.echo(f"made the token {name!r} ({scope}); it is not shown again:", err=True)
    click.echo(secret)


@token.command("list", epilog="Example: platformd token list --data-dir ./data")
@_AS_JSON
@with_settings("data_dir", "database")
@_failing
def list_(settings: Settings, as_json: bool) -> None:
    """List the tokens, newest first."""
    with _store(settings) as store:
        found = _all(store)
    if as_json:
        click.echo(json.dumps(found))
        return
    table = show.table("ID", "NAME", "SCOPE", "BEGINS", "APP", "LAST USED", "STATE")
    for one in found:
        state = "revoked" if one["revoked_at"] else "valid"
        app = (one["app_id"] or "")[: show.SHORT_ID]
        used = one["last_used_at"] or "never"
        table.add_row(one["id"][: show.SHORT_ID], one["name"], one["scope"], one["prefix"], app, used, state)
    Console().print(table)


@token.command(epilog="Example: platformd token revoke ci")
@click.argument("which", metavar="TOKEN")
@_AS_JSON
@with_settings("data_dir", "database")
@_failing
def revoke(settings: Settings, which: str, as_json: bool) -> None:
    """Revoke TOKEN for good: its id, the beginning of its id, or its name."""
    with _store(settings) as store:
        valid = [one for one in _all(store) if not one["revoked_at"]]
        found = [one for one in valid if which == one["name"] or one["id"].startswith(which.lower())]
        if len(found) != 1:
            raise NotFound(
                f"{len(found)} valid tokens fit {which!r}; name one by its id, `platformd token list` shows them"
            )
        store.commit(RevokeToken(id=found[0]["id"], at=clock.now())).result()
        [revoked] = [one for one in _all(store) if one["id"] == found[0]["id"]]
    click.echo(json.dumps(revoked) if as_json else f"revoked {revoked['name']!r}")


def _all(store: Store) -> list[dict[str, Any]]:
    views = TokenViews(store.reader)
    total = views.page(Page(page_size=1))["total"]
    return list(views.page(Page(page_size=max(1, total)))["data"])


def _app_id(store: Store, app: str) -> str:
    if ids.is_id(app):
        return app.lower()
    namespace, _, name = app.rpartition("/")
    sql = "SELECT id FROM apps WHERE namespace = ? AND name = ?"
    row = store.reader.row(sql, namespace or "default", name)
    if row is None:
        raise NotFound(f"there is no app {app!r}", code="APP_NOT_FOUND")
    return str(row[0])
