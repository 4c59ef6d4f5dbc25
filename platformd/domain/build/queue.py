"""Whose turn it is: at most so many builds at once, one at a time in each place, else in the order they came. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Place = tuple[str, str]
"""(app id, environment)."""


def next_turns(waiting: Mapping[str, Place], running: Mapping[str, Place], most: int) -> Iterable[str]:
    """The ids among `waiting`, which is in order of arrival, that may begin beside `running`."""
    free = most - len(running)
    taken = set(running.values())
    for id, place in waiting.items():
        if free <= 0:
            return
        if place not in taken:
            taken.add(place)
            free -= 1
            yield id
