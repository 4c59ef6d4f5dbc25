"""Answers about what belongs to an app beside its deployments. See `answers`."""

from __future__ import annotations

from typing import Literal

from handlers.answers import Answer, Instant
from handlers.words import Id


class SecretVariable(Answer):
    """A value nobody reads back."""

    secret: Literal[True]
    value: Literal["***"]


Variables = dict[str, str | SecretVariable]


class OldValues(Answer):
    """A deployment that goes on with the values it was created with."""

    id: Id
    version: int
    environment_slug: str
    phase: str


class VariablesChanged(Answer):
    """All variables after the change. New deployments see them; `deployments` go on with what was before."""

    env: Variables
    revision: int
    applies_to: Literal["next"]
    deployments: list[OldValues]


class Environment(Answer):
    """`deployments` counts those that were ever made here and are kept; webhooks wait while it is held."""

    app_id: Id
    slug: str
    url: str | None
    urls: list[str]
    current_deployment: Id | None
    deployments: int
    held_since: Instant | None
    created_at: Instant


class Environments(Answer):
    environments: list[Environment]


class Removing(Answer):
    id: Id
    message: str


class CustomDomain(Answer):
    id: Id
    app_id: Id
    domain: str
    environment: str
    url: str
    created_at: Instant


class CustomDomains(Answer):
    custom_domains: list[CustomDomain]


class Registry(Answer):
    id: Id
    app_id: Id
    host: str
    username: str
    password: Literal["***"]
    created_at: Instant
    updated_at: Instant


class Registries(Answer):
    registries: list[Registry]
