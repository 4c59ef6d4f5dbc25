"""Bodies that change a deployment or where an environment's address leads. See `handlers.schemas`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from handlers.schemas import ResourcesBody, VolumeBody
from handlers.words import Body, Image, Slug

PRODUCTION = "production"


class SpecChange(Body):
    """What is left out stays as it is, within `resources` too."""

    replicas: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    resources: ResourcesBody | UnsetType = UNSET
    image: Image | UnsetType = UNSET
    process_type: Literal["tish", "docker"] | UnsetType = UNSET
    volumes: Annotated[list[VolumeBody], Meta(max_length=64)] | UnsetType = UNSET


class DeploymentChange(Body):
    spec: SpecChange


class Promotion(Body):
    strategy: Literal["instant", "rebuild"] = "instant"
    environment: Slug = PRODUCTION


class Rollback(Body):
    environment: Slug = PRODUCTION
