"""The steady clock and the kernel's boot clock name the same instants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from platformd import clock


@pytest.fixture
def anchored() -> Iterator[None]:
    clock.anchor(clock.new_anchor())
    yield
    clock.anchor(None)


def test_an_instant_comes_back_no_earlier_and_less_than_a_microsecond_later(anchored: None) -> None:
    """Who asks "has anything happened since?" must not be told of that very instant."""
    first = clock.boot_ns()
    for instant in range(first, first + 5000, 7):
        back = clock.boot_ns_from_steady(clock.steady_from_boot_ns(instant))
        assert 0 <= back - instant < 1000


def test_steady_time_follows_the_boot_clock(anchored: None) -> None:
    before, now, after = clock.boot_ns(), clock.steady(), clock.boot_ns()
    assert clock.steady_from_boot_ns(before) <= now <= clock.steady_from_boot_ns(after)


def test_an_anchor_of_another_boot_is_refused() -> None:
    with pytest.raises(ValueError, match="another"):
        clock.anchor(clock.Anchor("another", 0, clock.now()))
