"""The concepts page shows both machines as their tables are."""

from __future__ import annotations

from tests.domain.draw import CONCEPTS, block, drawings, drawn_into


def test_the_concepts_page_is_drawn_from_the_tables() -> None:
    """`python -m tests.domain.draw` redraws it."""
    page = CONCEPTS.read_text()
    assert drawn_into(page) == page
    assert all(block(name, drawing) in page for name, drawing in drawings().items())


def test_a_drawing_names_its_events_and_leaves_out_what_clutters() -> None:
    deployment, task = drawings()["deployment"], drawings()["task"]
    assert "asleep --> waking: Change, KeepAwake, Wake" in deployment
    assert "Recovered" not in deployment
    assert "starting --> running: Probed" in task
    assert task.splitlines()[-1] == "    failed --> [*]"


def test_the_page_stays_short() -> None:
    assert len(CONCEPTS.read_text().splitlines()) <= 180
