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
from .tasks import GATEWAY_PREFIX, OWN_DEPLOYMENT, Task, log_name, read_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .journal import Journals

REPLACED = (
    "the keeper was replaced while this task ran; when the task ends, its exit code may be unknown, "
    "and output of its last moments may be missing"
)


def adopt(journals: Journals, boot_id: str) -> list[Task]:
    """Every task with a folder here: alive (`exit` is None), ended and recorded, or gone without a trace."""
    names = [name for name in os.listdir("run") if os.path.isdir(f"run/{name}")]
    strays = _by_marker({name for name in names if read_json(f"run/{name}/launch.json") is None})
    found = []
    for name in names:
        task = _from_record(name, boot_id) or strays.get(name)
        if task is None:
            remove(name)  # its process was never started
            continue
        task.readers = readers(task, journals)
        found.append(task)
        if task.exit is None and not task.is_gateway:
            journals.of(task.deployment, task.task).system(REPLACED)
    return found


def is_alive(task: Task) -> bool:
    return linux.start_time(task.pid) == task.start_time


def readers(task: Task, journals: Journals) -> list[Reader]:
    """The task's FIFOs opened again, and the beginnings of lines the last keeper had read."""
    journal = journals.of(task.deployment, log_name(task.task))
    found = []
    for stream, fifo in enumerate(FIFOS, segments.STDOUT):
        try:
            fd = open_fifo(f"run/{task.task}/{fifo}")
        except OSError:
            fd = -1
        reader = Reader(fd, stream, journal)
        reader.pending += journal.stored_open_line(stream)
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
        boot_ns = born * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
        found[name] = Task(name, deployment, None, None, pid, born, boot_ns, child=False)
    return found
