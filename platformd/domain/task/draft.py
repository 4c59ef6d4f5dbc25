"""The working copy of a task that transition handlers share. Pure. Used by the modules of this package only."""

from __future__ import annotations

from platformd.domain import effects, events
from platformd.domain.effects import Moment, TaskEffect
from platformd.domain.machine import Draft
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task.state import Task


class TaskDraft(Draft[Task, TaskEffect]):
    """A task being worked on, with the specification it runs under."""

    __slots__ = ("spec",)

    def __init__(self, state: Task, moment: Moment, spec: DeploymentSpec) -> None:
        super().__init__(state, moment)
        self.spec = spec

    def report(self, fact: events.DeploymentFact) -> None:
        self.order(effects.Report(fact))
