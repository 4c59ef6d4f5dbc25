"""Forgetting what is old: the operations of it. How long each thing is kept is in `policy`.

Pure records. Each drops a portion, so that nobody else's write waits long; 0, or nothing, is the end. Events and
request keys have operations of their own beside what they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from platformd.domain.operations import Operation


@dataclass(frozen=True, slots=True)
class ForgetDeployments(Operation[tuple[str, ...]]):
    """Drop these, which are done, with their tasks and preview addresses: the hostnames that lead nowhere now. One that
    is not done, or is its environment's current one, stays."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetTasks(Operation[int]):
    """Drop at most `most` of the tasks that ended before `before`: how many there were."""

    before: datetime
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetArtifacts(Operation[int]):
    """Drop at most `most` artifacts from before `before` that no deployment, build or app's default names: how many."""

    before: datetime
    most: int
