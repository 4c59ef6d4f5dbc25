"""The keeper replaces its own program in place: the same process, the same children, the same descriptors.

Everything it knows goes through a memfd to the next program image, which finds the descriptors open under the same
numbers. Called by the `upgrade` command and at the start with `--resume`. One thread.
"""

from __future__ import annotations

import json
import os
import socket

from .connection import Connection
from .output import Reader
from .tasks import Task, log_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .core import Keeper

FORMAT = 1


def hand_over(keeper: Keeper, argv: list[str]) -> None:
    """Become `argv --grace S --resume N`; OSError when that cannot be executed, and then nothing has changed."""
    state = capture(keeper)
    fd = os.memfd_create("platformd-keeper", 0)
    kept = descriptors(state)
    try:
        os.write(fd, json.dumps(state).encode())
        for number in kept:
            os.set_inheritable(number, True)
        os.execv(argv[0], [*argv, "--grace", str(keeper.grace), "--resume", str(fd)])
    finally:
        for number in kept:
            os.set_inheritable(number, False)
        os.close(fd)


def take_over(fd: int) -> dict[str, Any]:
    """The state left in the memfd by the program before; its descriptors are close-on-exec again."""
    try:
        state = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
    finally:
        os.close(fd)
    if state["format"] != FORMAT:
        raise ValueError(f"the keeper before left state of format {state['format']}, this one reads {FORMAT}")
    for number in descriptors(state):
        os.set_inheritable(number, False)
    return dict(state)


def capture(keeper: Keeper) -> dict[str, Any]:
    """All that the next program image must know."""
    serve = keeper.door.serve
    return {
        "format": FORMAT,
        "lock": keeper.lock,
        "listener": keeper.door.listener.fileno(),
        "serve": serve.sock.fileno() if serve else None,
        "queue": [[packet.decode("latin-1"), fds] for packet, fds in serve.queue] if serve else [],
        "tasks": [_task_state(task) for task in keeper.tasks.values()],
        "journals": keeper.journals.state(),
        "gateway": keeper.gateway.state(),
        "nofile": keeper.spawner.nofile,
        "slots": keeper.spawner.slots,
        "oom": keeper.spawner.oom.inherited.decode(),
        "leaving": keeper.leaving,
    }


def restore(keeper: Keeper, state: dict[str, Any]) -> None:
    """Put a fresh keeper where the one before was."""
    keeper.journals.restore(state["journals"])
    for saved in state["tasks"]:
        task = _task(keeper, saved)
        keeper.know(task)
    keeper.gateway.restore(state["gateway"], keeper.tasks)
    keeper.leaving = state["leaving"]
    if state["serve"] is not None:
        peer = Connection(socket.socket(fileno=state["serve"]))
        peer.queue.extend((packet.encode("latin-1"), fds) for packet, fds in state["queue"])
        keeper.door.add(peer)
        keeper.door.serve = peer


def descriptors(state: dict[str, Any]) -> list[int]:
    """The descriptors that a state speaks of."""
    found = [state["lock"], state["listener"], *state["gateway"]["sockets"].values(), *state.get("slots", ())]
    if state["serve"] is not None:
        found.append(state["serve"])
    for task in state["tasks"]:
        found += [task["pidfd"], *(reader["fd"] for reader in task["readers"])]
    return [fd for fd in found if fd >= 0]


def _task_state(task: Task) -> dict[str, Any]:
    return {
        "record": task.record(),
        "child": task.child,
        "exit": task.exit,
        "saved": task.saved,
        "pidfd": task.pidfd,
        "readers": [{"stream": reader.stream, **reader.state()} for reader in task.readers],
    }


def _task(keeper: Keeper, saved: dict[str, Any]) -> Task:
    task = Task(**saved["record"], child=saved["child"])
    task.exit, task.saved, task.pidfd = saved["exit"], saved["saved"], saved["pidfd"]
    journal = keeper.journals.of(task.deployment, log_name(task.task))
    for each in saved["readers"]:
        reader = Reader(each["fd"], each["stream"], journal, task.task)
        reader.restore(each)
        task.readers.append(reader)
    return task
