"""State diagrams as pictures: every state and transition is there, nothing overlaps, what is shown is text."""

from __future__ import annotations

import itertools
import re

import pytest

from platformd import diagrams, manual
from tests.domain.draw import drawings


@pytest.mark.parametrize("name", sorted(drawings()))
def test_every_state_and_transition_of_the_tables_is_drawn(name: str) -> None:
    text = drawings()[name]
    machine = diagrams.parse(text)
    arrows = [line for line in text.splitlines() if "-->" in line and "[*]" not in line]
    assert len(machine.transitions) == len(arrows) > 10
    picture = diagrams.svg(machine)
    assert picture.count("marker-end") == len(arrows)
    assert len(re.findall(r'<g class="state ', picture)) == len(machine.states)
    assert machine.initial and machine.final
    shown = diagrams.html(text)
    assert shown.count("<tr>") == len(arrows) + 1
    assert all(f"<code>{event}</code>" in shown for one in machine.transitions for event in one.events)


@pytest.mark.parametrize("name", sorted(drawings()))
def test_no_two_states_lie_upon_each_other_or_outside(name: str) -> None:
    picture = diagrams.svg(diagrams.parse(drawings()[name]))
    [(width, height)] = re.findall(r'viewBox="0 0 (\d+) (\d+)" role', picture)
    boxes = [
        tuple(map(float, box))
        for box in re.findall(r'<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', picture)
    ]
    for x, y, wide, high in boxes:
        assert min(x, y, float(width) - x - wide, float(height) - y - high) >= 0
    for (x1, y1, wide, high), (x2, y2, _, _) in itertools.combinations(boxes, 2):
        assert abs(x1 - x2) >= wide or abs(y1 - y2) >= high


def test_there_and_back_are_two_lines() -> None:
    picture = diagrams.svg(diagrams.parse("a --> b: go\nb --> a: back"))
    there, back = re.findall(r'<path d="(M[^"]+)" marker-end', picture)
    assert there.split("Q")[1].split()[:2] != back.split("Q")[1].split()[:2]


def test_names_are_text() -> None:
    shown = diagrams.html("[*] --> <b>\n<b> --> c: <i>")
    assert "<b>" not in shown and "<i>" not in shown


def test_a_page_has_its_pictures_and_anchors_once() -> None:
    for name in manual.names():
        page = manual.page(name)
        assert page is not None and "stateDiagram" not in page
        ids = re.findall(r' id="([^"]+)"', page)
        assert len(ids) == len(set(ids)), name
    concepts = manual.page("concepts")
    assert concepts is not None and concepts.count("<figure") == 3
