"""What belongs to an app beside its deployments, as the API shows it: variables, environments, domains, registries.

Called on the loop's thread (any thread may). Reads what is durable. Secrets are never shown, not even sealed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from platformd.domain.configuration import CustomDomain, OldValues, Registry, VariablesChanged
from platformd.domain.naming import Addresses
from platformd.domain.snapshot import App
from platformd.domain.variables import MASK, Variables
from platformd.errors import NotFound
from platformd.shown import column_timestamp
from platformd.store.deploying import decode_variables
from platformd.store.reader import Reader

Json = dict[str, Any]

_ENVIRONMENTS = """
SELECT e.slug, e.created_at, e.current_deployment,
       (SELECT json_group_array(hostname) FROM hosts h
        WHERE h.app_id = e.app_id AND h.environment = e.slug AND h.kind IN ('environment', 'custom')),
       (SELECT count(*) FROM deployments d WHERE d.app_id = e.app_id AND d.environment = e.slug), e.held_at
FROM environments e WHERE e.app_id = ?
"""
_DOMAINS = (
    "SELECT id, app_id, hostname, environment, created_at FROM hosts WHERE app_id = ? AND kind = 'custom'"
)
_REGISTRIES = """
SELECT id, app_id, host, username, password, created_at, updated_at FROM registries WHERE app_id = ? ORDER BY host
"""


class ConfigurationViews:
    def __init__(self, reader: Reader, addresses: Addresses) -> None:
        self._reader = reader
        self._addresses = addresses

    def variables(self, app_id: str, slug: str | None) -> tuple[Json, int]:
        """By name: a value, or {"secret": true, "value": "***"}; and their revision."""
        self._require(app_id, slug)
        row = self._reader.row(
            "SELECT snapshot, revision FROM variables WHERE app_id = ? AND environment = ?",
            app_id,
            slug or "",
        )
        snapshot, revision = row or (None, 0)
        return _variables(decode_variables(snapshot)), revision

    def render_change(self, changed: VariablesChanged) -> Json:
        return {
            "env": _variables(changed.now.values),
            "revision": changed.now.revision,
            "applies_to": "next",
            "deployments": [_old(deployment) for deployment in changed.old],
        }

    def environments(self, app_id: str) -> Json:
        self._require(app_id, None)
        rows = self._reader.rows(f"{_ENVIRONMENTS} ORDER BY e.slug", app_id)
        return {"environments": [self._environment(app_id, *row) for row in rows]}

    def environment(self, app_id: str, slug: str) -> Json:
        self._require(app_id, slug)
        return self._environment(app_id, *self._reader.row(f"{_ENVIRONMENTS} AND e.slug = ?", app_id, slug))

    def _environment(
        self,
        app_id: str,
        slug: str,
        created_at: str,
        current: str | None,
        hosts: str,
        deployments: int,
        held_at: str | None,
    ) -> Json:
        known = {host: self._addresses.url(host) for host in msgspec.json.decode(hosts)}
        own = [url for host, url in known.items() if host.endswith(f".{self._addresses.domain}")]
        return {
            "app_id": app_id,
            "slug": slug,
            "url": own[0] if own else None,
            "urls": sorted(known.values()),
            "current_deployment": current,
            "deployments": deployments,
            "held_since": None if held_at is None else column_timestamp(held_at),
            "created_at": column_timestamp(created_at),
        }

    def domains(self, app_id: str) -> Json:
        self._require(app_id, None)
        rows = self._reader.rows(f"{_DOMAINS} ORDER BY hostname", app_id)
        return {
            "custom_domains": [
                self.render_domain(
                    CustomDomain(
                        id=id, app_id=app, domain=domain, environment=environment, created_at=created_at
                    )
                )
                for id, app, domain, environment, created_at in rows
            ]
        }

    def render_domain(self, domain: CustomDomain) -> Json:
        return {
            "id": domain.id,
            "app_id": domain.app_id,
            "domain": domain.domain,
            "environment": domain.environment,
            "url": self._addresses.url(domain.domain),
            "created_at": column_timestamp(domain.created_at),
        }

    def registries(self, app_id: str) -> Json:
        self._require(app_id, None)
        names = ("id", "app_id", "host", "username", "password", "created_at", "updated_at")
        rows = self._reader.rows(_REGISTRIES, app_id)
        return {
            "registries": [
                self.render_registry(Registry(**dict(zip(names, row, strict=True)))) for row in rows
            ]
        }

    def render_registry(self, registry: Registry) -> Json:
        return {
            "id": registry.id,
            "app_id": registry.app_id,
            "host": registry.host,
            "username": registry.username,
            "password": MASK,
            "created_at": column_timestamp(registry.created_at),
            "updated_at": column_timestamp(registry.updated_at),
        }

    def _require(self, app_id: str, slug: str | None) -> None:
        if self._reader.get(App, app_id) is None:
            raise NotFound(f"there is no app {app_id}", code="APP_NOT_FOUND")
        if slug and slug not in self._reader.environments(app_id):
            raise NotFound(f"app {app_id} has no environment {slug!r}", code="ENVIRONMENT_NOT_FOUND")


def _variables(values: Variables) -> Json:
    return {
        name: {"secret": True, "value": MASK} if variable.secret else variable.value
        for name, variable in sorted(values.items())
    }


def _old(deployment: OldValues) -> Json:
    return {
        "id": deployment.id,
        "version": deployment.version,
        "environment_slug": deployment.environment_slug,
        "phase": deployment.phase,
    }
