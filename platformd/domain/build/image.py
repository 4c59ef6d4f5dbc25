"""What the image of a build is called, and the labels by which it is found again. Pure.

An image that somebody makes from one inherits its labels but not its name, and so do containers: none of these labels
is one that containers of tasks are told by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from platformd.domain.build.state import Build

BUILD, BUILT_BY, APP = "platformd.build", "platformd.built-by", "platformd.app"


def name(build: Build) -> str:
    """As the engine is to call it."""
    return f"platformd/{build.app_name.lower()}:build-{build.id}"


def labels(build: Build, instance: str) -> dict[str, str]:
    """`instance` is the data directory's own."""
    return {BUILD: build.id, BUILT_BY: instance, APP: build.app_id}


def own_names(labels: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Which of an image's names its build has given it."""
    return [name for name in names if name.endswith(f":build-{labels[BUILD]}")]
