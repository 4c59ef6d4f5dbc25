"""State diagrams as pictures: the mermaid text that the transition tables are drawn as, laid out and turned into SVG.

Called by the manual. Pure. Only the subset that `platformd.domain.machine.diagram` writes is understood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

_ARROW = re.compile(r"^\s*(\S+) --> (\S+?)(?::\s*(.*))?$")
_OUTSIDE = "[*]"
_WIDTH, _PAD, _BOX, _RADIUS = 720.0, 70.0, (104.0, 30.0), 7
_BEND = 0.14
"""How far an edge swerves, of its length: the way back swerves to the other side."""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Transition:
    """From one state to another on any of the events."""

    source: str
    target: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """States in the order of their first mention."""

    states: tuple[str, ...]
    initial: frozenset[str]
    final: frozenset[str]
    transitions: tuple[Transition, ...]


def parse(text: str) -> Machine:
    """What a `stateDiagram-v2` says."""
    states: dict[str, None] = {}
    initial, final = set[str](), set[str]()
    transitions = []
    for line in text.splitlines():
        found = _ARROW.match(line)
        if found is None:
            continue
        source, target, events = found[1], found[2], found[3]
        states.update(dict.fromkeys(name for name in (source, target) if name != _OUTSIDE))
        if source == _OUTSIDE:
            initial.add(target)
        elif target == _OUTSIDE:
            final.add(source)
        else:
            transitions.append(Transition(source, target, tuple(re.split(r",\s*", events or ""))))
    return Machine(tuple(states), frozenset(initial), frozenset(final), tuple(transitions))


def html(text: str) -> str:
    """The picture, and below it every transition with its events."""
    machine = parse(text)
    rows = "".join(
        f"<tr><td>{escape(_words(one.source))}</td><td>{escape(_words(one.target))}</td>"
        f"<td>{', '.join(f'<code>{escape(event)}</code>' for event in one.events)}</td></tr>"
        for one in machine.transitions
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("from", "to", "on"))
    return (
        f'<figure class="diagram">{svg(machine)}<details><summary>Every transition and its events</summary>'
        f'<div class="wide" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details></figure>"
    )


def svg(machine: Machine) -> str:
    """States round an ellipse, clockwise from the upper left; hovering an edge names its events."""
    height = max(220.0, 50.0 * len(machine.states))
    places = dict(zip(machine.states, _ellipse(len(machine.states), height), strict=True))
    arrow = f"arrow-{escape(machine.states[0])}"
    label = f"State diagram: {', '.join(map(_words, machine.states))}"
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f'<defs><marker id="{arrow}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8Z"/></marker></defs>'
        f"{''.join(_edges(machine, places, arrow))}{''.join(_boxes(machine, places))}</svg>"
    )


def _ellipse(count: int, height: float) -> Iterator[Point]:
    for place in range(count):
        angle = math.pi * (1.25 + 2 * place / max(count, 1))
        yield (
            _WIDTH / 2 + (_WIDTH / 2 - _PAD) * math.cos(angle),
            height / 2 + (height / 2 - _BOX[1]) * math.sin(angle),
        )


def _edges(machine: Machine, places: dict[str, Point], arrow: str) -> Iterator[str]:
    for one in machine.transitions:
        (x1, y1), (x2, y2) = places[one.source], places[one.target]
        bend = ((x1 + x2) / 2 - (y2 - y1) * _BEND, (y1 + y2) / 2 + (x2 - x1) * _BEND)
        start, end = _border((x1, y1), bend, 2), _border((x2, y2), bend, 4)
        title = f"{_words(one.source)} to {_words(one.target)}: {', '.join(one.events)}"
        path = f"M{start[0]:.1f} {start[1]:.1f}Q{bend[0]:.1f} {bend[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
        yield (
            f'<g class="edge from-{escape(one.source)}"><title>{escape(title)}</title>'
            f'<path class="near" d="{path}"/><path d="{path}" marker-end="url(#{arrow})"/></g>'
        )


def _border(center: Point, toward: Point, gap: float) -> Point:
    """Where the line from a box's centre leaves the box, and `gap` further."""
    dx, dy = toward[0] - center[0], toward[1] - center[1]
    length = math.hypot(dx, dy) or 1.0
    reach = min(_BOX[0] / 2 / abs(dx) if dx else math.inf, _BOX[1] / 2 / abs(dy) if dy else math.inf, 1.0) + (
        gap / length
    )
    return center[0] + dx * reach, center[1] + dy * reach


def _boxes(machine: Machine, places: dict[str, Point]) -> Iterator[str]:
    width, height = _BOX
    for name, (x, y) in places.items():
        kinds = ["state", name, *(["initial"] if name in machine.initial else [])]
        kinds += ["final"] if name in machine.final else []
        yield (
            f'<g class="{escape(" ".join(kinds))}"><rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" '
            f'width="{width:.0f}" height="{height:.0f}" rx="{_RADIUS}"/>'
            f'<text x="{x:.1f}" y="{y + 4:.1f}">{escape(_words(name))}</text></g>'
        )


def _words(name: str) -> str:
    return name.replace("_", " ")
