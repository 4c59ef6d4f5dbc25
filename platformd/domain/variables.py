"""Environment variables: those of an app, of one of its environments, of a deployment, and what comes of them together.

Pure. A secret's value is sealed text wherever a `Variable` goes; only a task's launch sees it in the clear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from platformd.errors import Fault, Invalid

MASK = "***"
MOST_NAMES = 1000
MOST_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Variable:
    """A value, sealed when `secret`."""

    value: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Masked:
    """What a client wrote when it read `***` and wrote that back; `secret` when it said so itself."""

    secret: bool


Variables = Mapping[str, Variable]
Change = Mapping[str, Variable | Masked | None]
"""By name: a value, what is there already, or None for nothing."""


class Precedence(StrEnum):
    """Whose value holds where several name a variable: that of the deployment itself, or, for what is promoted from
    elsewhere, that of the environment it comes to."""

    DEPLOYMENT = "deployment"
    ENVIRONMENT = "environment"


def sealed_for(app_id: str, name: str) -> str:
    """What a secret's ciphertext belongs to: it opens under this name in this app only."""
    return f"variable {name} of app {app_id}"


def merged(
    app: Variables,
    environment: Variables,
    own: Mapping[str, str],
    precedence: Precedence = Precedence.DEPLOYMENT,
) -> dict[str, Variable]:
    """What the tasks of a deployment see."""
    stated = {name: Variable(value) for name, value in own.items()}
    if precedence is Precedence.ENVIRONMENT:
        return {**app, **stated, **environment}
    return {**app, **environment, **stated}


def without_secrets(variables: Variables) -> dict[str, Variable]:
    """What code may see that nobody has looked at yet."""
    return {name: variable for name, variable in variables.items() if not variable.secret}


def changed(present: Variables, change: Change) -> dict[str, Variable]:
    """`present` after `change`; Invalid with every fault when it cannot be."""
    result = dict(present)
    faults = []
    for name, wanted in change.items():
        before = present.get(name)
        match wanted:
            case None:
                result.pop(name, None)
            case Variable():
                result[name] = wanted
            case Masked() if before is not None and before.secret:
                result[name] = before
            case Masked(secret=True):
                message = f"there is no secret {name} whose value {MASK} could keep; give the value"
                faults.append(Fault(f"/{name}", message))
            case Masked():
                result[name] = Variable(MASK)
    faults += _excesses(result)
    if faults:
        raise Invalid(faults[0].message, faults=faults)
    return result


def replaced(present: Variables, change: Change) -> dict[str, Variable]:
    """As `changed`, and nothing stays that `change` does not name."""
    result = changed(present, {**dict.fromkeys(present), **change})
    return {name: result[name] for name in change if name in result}


def _excesses(variables: Variables) -> list[Fault]:
    size = sum(len(name) + len(variable.value.encode()) for name, variable in variables.items())
    faults = []
    if len(variables) > MOST_NAMES:
        faults.append(Fault("", f"there would be {len(variables)} variables, at most {MOST_NAMES} are taken"))
    if size > MOST_BYTES:
        faults.append(Fault("", f"the variables would have {size} bytes, at most {MOST_BYTES} are taken"))
    return faults
