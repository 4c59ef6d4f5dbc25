"""What a measurement found, beside its goals: a table or JSON. Called by the measurements; pure but for `shown`."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from platformd.cli import show
from platformd.cli.remote import console


@dataclass(frozen=True, slots=True)
class Result:
    """One row: `met` is None where there is no goal."""

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Report:
    """`figures` are plain numbers, times in seconds, under stable names."""

    bench: str
    results: list[Result] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, measured: str, goal: str = "", met: bool | None = None) -> None:
        self.results.append(Result(what, measured, goal, met))

    def document(self) -> dict[str, Any]:
        return {
            "bench": self.bench,
            "machine": machine(),
            "results": [
                {"what": row.what, "measured": row.measured, "goal": row.goal, "met": row.met}
                for row in self.results
            ],
            "figures": self.figures,
            "notes": self.notes,
        }

    def shown(self, as_json: bool) -> None:
        """Prints it."""
        if as_json:
            print(json.dumps(self.document(), indent=2))
            return
        screen = console()
        rows = show.table("WHAT", "MEASURED", "GOAL", "VERDICT")
        for row in self.results:
            rows.add_row(row.what, row.measured, row.goal, _verdict(row.met))
        screen.print(rows)
        about = machine()
        if about["load"] > about["cpus"]:
            self.notes.append("Something else kept the machine busy: take the figures as rough.")
        for note in self.notes:
            screen.print(note, style="dim", soft_wrap=True)
        line = (
            f"{about['cpus']} CPUs, Linux {about['kernel']}, Python {about['python']}, load {about['load']}"
        )
        screen.print(line, style="dim", soft_wrap=True)


def _verdict(met: bool | None) -> Text:
    match met:
        case None:
            return Text("")
        case True:
            return Text("met", style="green")
        case _:
            return Text("missed", style="bold red")


def machine() -> dict[str, Any]:
    """Where it was measured; the load tells whether it was alone there."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def cores(report: Report) -> tuple[set[int], set[int]]:
    """One for what is measured and one for everyone else, which are the same where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) == 1:
        report.notes.append("One core only: what is measured and its load share it.")
    return {found[-1]}, {found[0]}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
