"""Bodies of what belongs to an app beside its deployments: changes of it, variables, environments, custom domains,
registry credentials. See `schemas`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from handlers.schemas import SpecBody
from handlers.words import Argument, Body, Description, EnvName, Labels, Slug

LONGEST_HOSTNAME = 253
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")


def ascii_domain(text: str) -> str:
    """`text` as the DNS writes it: lower case, other scripts as `xn--`; ValueError for what is no hostname."""
    try:
        name = text.removesuffix(".").lower().encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"must be a hostname such as shop.example.com, not {text[:80]!r}") from None
    labels = name.split(".")
    if "*" in name:
        raise ValueError("must name one host; a wildcard leads nowhere here")
    if _is_address(name):
        raise ValueError(f"must be a name, not the address {text[:80]!r}")
    if len(name) > LONGEST_HOSTNAME or len(labels) < 2 or not all(map(_LABEL.match, labels)):
        raise ValueError(f"must be a hostname such as shop.example.com, not {text[:80]!r}")
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name.rpartition(".")[2].isdigit()  # what resolvers would take for an address as well
    return True


class AppChange(Body):
    """What is left out stays."""

    description: Description | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET
    default_deployment_spec: SpecBody | UnsetType = UNSET


class VariableBody(Body):
    """A value beside what is to be said of it; `***` keeps the secret there is."""

    value: Argument
    secret: bool = False


VariablesBody = Annotated[dict[EnvName, Argument | VariableBody], Meta(max_length=1000)]
VariablesPatch = Annotated[dict[EnvName, Argument | VariableBody | None], Meta(max_length=1000)]


class NewEnvironment(Body):
    slug: Slug


class NewDomain(Body):
    domain: Annotated[
        str,
        Meta(
            max_length=LONGEST_HOSTNAME,
            description="a hostname; other scripts are taken too",
            examples=["shop.example.com"],
            extra={"check": ascii_domain},
        ),
    ]
    environment: Slug = "production"


class NewRegistry(Body):
    host: Annotated[
        str,
        Meta(
            max_length=LONGEST_HOSTNAME + 6,
            pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?$",
            extra={"says": "a host, with a port if it has its own"},
        ),
    ]
    username: Annotated[str, Meta(min_length=1, max_length=256)]
    password: Annotated[str, Meta(min_length=1, max_length=16_384)]
