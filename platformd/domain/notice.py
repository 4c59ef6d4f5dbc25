"""What subscribers see of a change once it is durable. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`kind` is what changed (deployment, task, app, environment, artifact, wake), `type` how
    ("deployment.ready"); `revision` is the object's after the change, `data` goes to readers as it is."""

    kind: str
    type: str
    app_id: str
    deployment_id: str | None = None
    task_id: str | None = None
    revision: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)
