"""Draws the machines into platformd/docs/concepts.md: `python -m tests.domain.draw` after a table has changed."""

from __future__ import annotations

import re
from pathlib import Path

from platformd.domain import events
from platformd.domain.build.messages import Interrupted
from platformd.domain.build.state import Phase as BuildPhase
from platformd.domain.build.transitions import TRANSITIONS as BUILD
from platformd.domain.deployment.state import Phase
from platformd.domain.deployment.transitions import TRANSITIONS as DEPLOYMENT
from platformd.domain.machine import diagram
from platformd.domain.task import TaskPhase
from platformd.domain.task.transitions import TRANSITIONS as TASK

CONCEPTS = Path(__file__).resolve().parents[2] / "platformd" / "docs" / "concepts.md"
# After a restart anything may be found; a port changing hands is rare and explained in words.
LEFT_OUT = (events.Recovered, events.PortWanted, events.PortReturned)
# Phases that no event leads to yet, or that are entered from outside the machine, would only clutter it.
DRAWN = tuple(
    phase for phase in Phase if phase not in (Phase.WAITING_FOR_BUILD, Phase.PULLING, Phase.QUARANTINED)
)


def drawings() -> dict[str, str]:
    """The diagram of each machine by the name between whose markers it stands."""
    return {
        "deployment": diagram(DEPLOYMENT, DRAWN, [Phase.DONE], without=LEFT_OUT),
        "build": diagram(BUILD, tuple(BuildPhase), [BuildPhase.DONE], without=(Interrupted,)),
        "task": diagram(TASK, tuple(TaskPhase), [TaskPhase.STOPPED, TaskPhase.FAILED]),
    }


def block(name: str, drawing: str) -> str:
    return f"<!-- {name} diagram -->\n```mermaid\n{drawing}\n```\n<!-- end -->"


def drawn_into(text: str) -> str:
    """`text` with what stands between the markers replaced."""
    for name, drawing in drawings().items():
        new = block(name, drawing)
        text, found = re.subn(
            rf"<!-- {name} diagram -->.*?<!-- end -->", lambda _, new=new: new, text, flags=re.S
        )
        if found != 1:
            raise ValueError(f"{CONCEPTS} has {found} places for the {name} diagram; it needs one")
    return text


if __name__ == "__main__":
    CONCEPTS.write_text(drawn_into(CONCEPTS.read_text()))
