"""What the state machines share: rules as data, the draft a handler works on, and the step that results.

Pure. A machine is a list of `Rule`s over its phases and event types; `compile_rules` makes the table that `step` looks
handlers up in, that tests check for completeness and that the documentation draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from platformd.domain.effects import Moment

S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Step(Generic[S, E]):
    """The next state and, in order, what the shell has to do."""

    state: S
    effects: tuple[E, ...] = ()


class Draft(Generic[S, E]):
    """A state being worked on by handlers: `set` changes it, `order` adds an effect."""

    __slots__ = ("effects", "moment", "state")

    def __init__(self, state: S, moment: Moment) -> None:
        self.state = state
        self.moment = moment
        self.effects: list[E] = []

    def set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[type-var]

    def order(self, effect: E) -> None:
        self.effects.append(effect)

    @property
    def at(self) -> datetime:
        return self.moment.at

    def passed(self, deadline: datetime | None) -> bool:
        return deadline is not None and self.at >= deadline


@dataclass(frozen=True, slots=True)
class Rule:
    """In any of `phases`, an event of type `event` is worked on by `handler` and leads to one of `leads_to`.

    An empty `leads_to` means the phase stays.
    """

    event: type
    phases: tuple[StrEnum, ...]
    handler: Callable[[Any, Any], None]
    leads_to: tuple[StrEnum, ...] = ()


Table = Mapping[tuple[StrEnum, type], Rule]


def compile_rules(rules: Iterable[Rule]) -> Table:
    """The table of `rules`; two rules for one pair are a mistake."""
    table: dict[tuple[StrEnum, type], Rule] = {}
    for rule in rules:
        for phase in rule.phases:
            if (phase, rule.event) in table:
                raise ValueError(f"two rules for {rule.event.__name__} in {phase}")
            table[phase, rule.event] = rule
    return table


def diagram(table: Table, phases: Sequence[StrEnum]) -> str:
    """The table as a Mermaid state diagram: one arrow for each pair of phases, labelled with its events."""
    arrows: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for (phase, event), rule in table.items():
        for target in rule.leads_to:
            if target is not phase:
                arrows.setdefault((phase, target), []).append(event.__name__)
    order = {phase: index for index, phase in enumerate(phases)}
    lines = ["stateDiagram-v2"]
    for (phase, target), events in sorted(arrows.items(), key=lambda arrow: [order[end] for end in arrow[0]]):
        lines.append(f"    {phase} --> {target}: {', '.join(sorted(set(events)))}")
    return "\n".join(lines)


def ignore(draft: Draft[Any, Any], event: object) -> None:
    """The event changes nothing here."""
