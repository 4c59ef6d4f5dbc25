"""What the state machines share: rules as data, the draft a handler works on, and the step that results.

Pure. A machine is a list of `Rule`s over its phases and event types; `compile_rules` makes the table that `step` looks
handlers up in, that tests check for completeness and that the documentation draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from operator import attrgetter
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
        self.state = _with(self.state, changes)

    def order(self, effect: E) -> None:
        self.effects.append(effect)

    @property
    def at(self) -> datetime:
        return self.moment.at

    def passed(self, deadline: datetime | None) -> bool:
        return deadline is not None and self.at >= deadline


@cache
def _slots(kind: type) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[Callable[[Any, Any], None], ...]]:
    names = [field.name for field in fields(kind)]
    return attrgetter(*names), tuple(getattr(kind, name).__set__ for name in names)


def _with(state: S, changes: Mapping[str, Any]) -> S:
    """As `dataclasses.replace`, in half the time: a wake takes some twenty of them."""
    kind: Any = type(state)
    get, setters = _slots(kind)
    copy: S = object.__new__(kind)
    for put, value in zip(setters, get(state), strict=True):
        put(copy, value)
    for name, value in changes.items():
        object.__setattr__(copy, name, value)
    return copy


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


def diagram(
    table: Table, phases: Sequence[StrEnum], ends: Sequence[StrEnum], without: Sequence[type] = ()
) -> str:
    """The table as a Mermaid state diagram: one arrow for each pair of phases, labelled with its events.

    It begins in the first of `phases`; phases that are not named and events in `without` are left out.
    """
    order = {phase: index for index, phase in enumerate(phases)}
    arrows: dict[tuple[StrEnum, StrEnum], set[str]] = {}
    for (phase, event), rule in table.items():
        for target in rule.leads_to:
            if target is not phase and {phase, target} <= order.keys() and event not in without:
                arrows.setdefault((phase, target), set()).add(event.__name__)
    lines = ["stateDiagram-v2", f"    [*] --> {phases[0]}"]
    for (phase, target), names in sorted(arrows.items(), key=lambda arrow: [order[end] for end in arrow[0]]):
        lines.append(f"    {phase} --> {target}: {', '.join(sorted(names))}")
    return "\n".join([*lines, *(f"    {phase} --> [*]" for phase in ends)])


def ignore(draft: Draft[Any, Any], event: object) -> None:
    """The event changes nothing here."""
