"""One run of a deployment's executable: its snapshot here, its machine in `transitions`."""

from platformd.domain.task.state import LYING, StopStage, Task, TaskPhase

__all__ = ["LYING", "StopStage", "Task", "TaskPhase"]
