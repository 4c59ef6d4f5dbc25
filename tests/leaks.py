"""What a test may leave behind in its own process: threads, descriptors, child processes."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Belongings:
    """What this process holds at one instant, each kind with readable names."""

    threads: Counter[str]
    descriptors: Counter[str]
    children: Counter[str]

    @classmethod
    def now(cls) -> Belongings:
        gc.collect()
        return cls(
            Counter(f"{thread.name} ({thread.ident})" for thread in threading.enumerate()),
            Counter(_descriptors()),
            Counter(_children()),
        )

    def beyond(self, before: Belongings) -> list[str]:
        """What is there now and was not `before`."""
        more = {
            "thread": self.threads - before.threads,
            "descriptor": self.descriptors - before.descriptors,
            "child process": self.children - before.children,
        }
        return [f"{kind}: {name}" for kind, found in more.items() for name in found.elements()]


def _descriptors() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:  # the one that listed the folder
            continue
    return found


def _children() -> list[str]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:  # the thread ended meanwhile
            continue
        found += [f"{pid} {_command(pid)}" for pid in pids]
    return found


def _command(pid: str) -> str:
    try:
        words = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except OSError:
        return "(gone)"
    return words or "(zombie)"
