"""What subscribers see of a change once it is durable. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from platformd.domain.snapshot import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`kind` is what changed (deployment, task, app, environment, artifact, build, wake, webhook), `type` how
    ("deployment.ready"); `revision` is the object's after the change, `data` goes to readers as it is: plain values
    that JSON can say, and never a secret."""

    kind: str
    type: str
    app_id: str
    deployment_id: str | None = None
    task_id: str | None = None
    build_id: str | None = None
    revision: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)


def reason_data(reason: Reason | None) -> dict[str, object] | None:
    """A reason as answers and events show it: what is not known is left out."""
    if reason is None:
        return None
    shown: dict[str, object] = {"code": reason.code, "message": reason.message}
    if reason.exit_code is not None:
        shown["exit_code"] = reason.exit_code
    if reason.signal is not None:
        shown["signal"] = reason.signal
    if reason.last_lines:
        shown["last_lines"] = list(reason.last_lines)
    return shown


@dataclass(frozen=True, slots=True)
class Event:
    """A notice as it is stored: ids rise in the order of commits, across restarts too, and count microseconds."""

    id: int
    at: datetime
    notice: Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events a reader wants; None is all. `types` are exact ("task.exited") or end in "." ("task.")."""

    app_id: str | None = None
    deployment_id: str | None = None
    types: frozenset[str] | None = None

    def wants(self, notice: Notice) -> bool:
        if self.app_id is not None and notice.app_id != self.app_id:
            return False
        if self.deployment_id is not None and notice.deployment_id != self.deployment_id:
            return False
        return self.types is None or any(_matches(notice.type, wanted) for wanted in self.types)


def _matches(type: str, wanted: str) -> bool:
    return type.startswith(wanted) if wanted.endswith(".") else type == wanted
