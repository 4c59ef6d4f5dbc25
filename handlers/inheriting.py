"""Where the body of a deployment is silent, its app's `default_deployment_spec` speaks. Called by `specs`; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# (what a body states, what of the default gives way to it), as paths.
_GIVES_WAY = (
    (("artifact_id",), ("image",)),
    (("image",), ("artifact_id",)),
    (("command",), ("args",)),
    (("networking", "health_path"), ("networking", "health_check", "path")),
    (("networking", "health_check", "path"), ("networking", "health_path")),
)


def inherited(default: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """`stated` over `default`, objects field by field. What runs is one thing: an image that is stated leaves no
    artifact of the default, nor a command its arguments, nor a health path the other way to write one."""
    for said, rival in _GIVES_WAY:
        if _at(stated, said) is not None:
            default = _without(default, rival)
    return _over(default, stated)


def _over(default: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(default)
    for name, value in stated.items():
        before = result.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[name] = _over(before, value)
        else:
            result[name] = value
    return result


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _without(value: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    first, *rest = path
    inner = value.get(first)
    if not rest:
        return {name: item for name, item in value.items() if name != first}
    return {**value, first: _without(inner, tuple(rest))} if isinstance(inner, Mapping) else value
