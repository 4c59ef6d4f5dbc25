"""When memory is short, and who is ended then."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.pressure import memory_is_short

CALM = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
STALLED = CALM.replace("some avg10=0.00", "some avg10=10.50")
AMPLE, SCARCE = "MemTotal: 1000 kB\nMemAvailable: 500 kB\n", "MemTotal: 1000 kB\nMemAvailable: 99 kB\n"


@pytest.mark.parametrize(
    ("pressure", "memory", "short"),
    [(CALM, AMPLE, False), (STALLED, AMPLE, True), (CALM, SCARCE, True), ("", "", False)],
)
def test_short_by_stalls_or_by_what_is_left(tmp_path: Path, pressure: str, memory: str, short: bool) -> None:
    (tmp_path / "pressure").write_text(pressure)
    (tmp_path / "memory").write_text(memory)
    assert memory_is_short(tmp_path / "pressure", tmp_path / "memory") is short


def test_what_the_kernel_does_not_tell_is_not_short(tmp_path: Path) -> None:
    assert not memory_is_short(tmp_path / "none", tmp_path / "none")
