"""`platformd.yaml`: what the folder that is deployed from says of itself, as defaults of `platformd deploy`.

`load` reads it; names of keys are judged here, values by the server, in whose words they are. Pure but for reading.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILE = "platformd.yaml"
# What may be below each key; None is a value, or whatever the server takes there.
_KEYS: Mapping[str, Any] = {
    "name": None,
    "namespace": None,
    "build": dict.fromkeys(("kind", "command", "artifact_path", "dockerfile")),
    "deploy": dict.fromkeys(
        ("replicas", "process_type", "image", "env", "max_runtime_secs", "volumes", "idle_timeout_secs")
    ),
    "resources": {"cpu": None, "memory": None},
    "networking": {
        "port": None,
        "protocol": None,
        "health_check": {"path": None, "interval": None, "timeout": None},
    },
}


class ProjectError(Exception):
    """The file cannot be used; the text has one line for each fault."""


@dataclass(frozen=True, slots=True)
class Project:
    """`app` is None where it names none; `artifact_path` is what its build leaves behind; `body` is a part of the
    API's body of a new deployment."""

    app: str | None = None
    artifact_path: Path | None = None
    body: dict[str, Any] = field(default_factory=dict)


def load(folder: Path) -> Project:
    """The project in `folder`; an empty one where there is no file. `ProjectError` for one that cannot be used."""
    path = folder / FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Project()
    except OSError as error:
        raise ProjectError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProjectError(f"{path} is not YAML: {error}") from None
    faults = list(_faults("", {} if content is None else content, _KEYS))
    if faults:
        raise ProjectError("\n".join(f"{path}: {fault}" for fault in faults))
    return _project(folder, content or {})


def _faults(where: str, content: object, keys: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(content, Mapping):
        yield f"{where or 'the file'} must be keys with values, such as {next(iter(keys))}: …"
        return
    for key, value in content.items():
        if key not in keys:
            yield f"{where}{'.' if where else ''}{key} is unknown; {_nearest(str(key), keys)}"
        elif keys[key] is not None and value is not None:
            yield from _faults(f"{where}.{key}".removeprefix("."), value, keys[key])
    if not where:
        yield from _wrong_texts(content)


def _wrong_texts(content: Mapping[Any, Any]) -> Iterator[str]:
    for key in ("name", "namespace"):
        if content.get(key) is not None and not isinstance(content[key], str):
            yield f"{key} must be text, not {content[key]!r}"
    build = content.get("build")
    path = build.get("artifact_path") if isinstance(build, Mapping) else None
    if path is not None and not isinstance(path, str):
        yield f"build.artifact_path must be text, not {path!r}"
    deploy = content.get("deploy")
    env = deploy.get("env") if isinstance(deploy, Mapping) else None
    if env is None:
        return
    if not isinstance(env, Mapping):
        yield "deploy.env must be names with values"
        return
    for name, value in env.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            yield f"deploy.env.{name} must be text, not {value!r}; put it into quotes"


def _nearest(key: str, keys: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(keys)}"


def _project(folder: Path, content: Mapping[str, Any]) -> Project:
    name, namespace = content.get("name"), content.get("namespace")
    deploy = dict(content.get("deploy") or {})
    if deploy.get("env"):
        deploy["env"] = {str(key): str(value) for key, value in deploy["env"].items()}
    sections = {key: content[key] for key in ("resources", "networking") if content.get(key)}
    artifact = (content.get("build") or {}).get("artifact_path")
    return Project(
        app=f"{namespace}/{name}" if name and namespace else name,
        artifact_path=None if artifact is None else folder / artifact,
        body={key: value for key, value in deploy.items() if value is not None} | sections,
    )
