"""A keeper that follows a killed one finds the processes that lived on and the exits nobody reported.

Called once at start, on the keeper's one thread. A process is ours when `run/<task>/` is here and its pid and
start time are those of the launch record; where the record was not written yet, when its environment names the
task.
"""

from __future__ import annotations

import os

from . import linux, segments
from .folders import FIFOS, open_fifo, remove
from .output import Reader
from .spool import undo_torn
from .tasks import OWN_DEPLOYMENT, Task, log_name, read_json
from .wire import GATEWAY_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .journal import Journals
    from .spool import Note

REPLACED = (
    "the keeper was replaced while this task ran; when the task ends, its exit code may be unknown, "
    "and output of its last moments may be missing"
)


def adopt(journals: Journals, boot_id: str, under_way: Note | None) -> list[Task]:
    """Every task with a folder here: alive (`exit` is None), ended and recorded, or gone without a trace."""
    names = [name for name in os.listdir("run") if os.path.isdir(f"run/{name}")]
    tasks = {name: task for name in names if (task := _from_record(name, boot_id)) is not None}
    tasks |= _by_marker(set(names) - tasks.keys())
    for name in set(names) - tasks.keys():
        remove(name)  # its process was never started
    found = []
    for task in tasks.values():
        task.readers = _readers(task, journals, under_way)
        found.append(task)
        if task.exit is None and not task.is_gateway:
            journals.of(task.deployment, task.task).system(REPLACED)
    return found


def is_alive(task: Task) -> bool:
    return linux.start_time(task.pid) == task.start_time


def _readers(task: Task, journals: Journals, under_way: Note | None) -> list[Reader]:
    """The task's FIFOs opened again, with what the last keeper had taken from them and not stored."""
    torn = under_way if under_way is not None and under_way.task == task.task else None
    if torn is not None and not undo_torn(torn, f"logs/{task.deployment}/{log_name(task.task)}"):
        torn = None
    journal = journals.of(task.deployment, log_name(task.task))
    found = []
    for stream, fifo in enumerate(FIFOS, segments.STDOUT):
        try:
            fd = open_fifo(f"run/{task.task}/{fifo}")
        except OSError:
            fd = -1
        reader = Reader(fd, stream, journal, task.task)
        reader.pending += journal.stored_open_line(stream)
        if torn is not None and torn.stream == stream:
            reader.feed(torn.chunk)
        found.append(reader)
    return found


def _from_record(name: str, boot_id: str) -> Task | None:
    record = read_json(f"run/{name}/launch.json")
    if record is None:
        return None
    same_boot = record.pop("boot_id", None) == boot_id
    try:
        task = Task(**record, child=False)
    except TypeError:
        return None
    task.exit = read_json(f"run/{name}/exit.json")
    task.saved = task.exit is not None
    if task.exit is None and not same_boot:
        task.exit = {"code": None, "signal": None, "unknown": True, "boot_ns": 0, "last_lines": []}
    return task


def _by_marker(names: set[str]) -> dict[str, Task]:
    """Tasks whose record was not written yet, by the marker in the environment of their first process."""
    if not names:
        return {}
    found: dict[str, Task] = {}
    for pid in linux.processes():
        env = linux.environment(pid)
        name = env.get(b"TASK_ID", b"").decode("utf-8", "replace")
        if name not in names or not linux.is_leader(pid) or (born := linux.start_time(pid)) is None:
            continue
        if name in found and found[name].start_time <= born:
            continue
        own = name.startswith(GATEWAY_PREFIX)
        deployment = OWN_DEPLOYMENT if own else env.get(b"DEPLOYMENT_ID", b"").decode("utf-8", "replace")
        boot_ns = linux.instant(born)
        found[name] = Task(name, deployment, None, None, pid, born, boot_ns, child=False)
    return found
