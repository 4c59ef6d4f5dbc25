"""`bench herd`: a thousand requests at once for one sleeping app; one start, and every one answered."""

from __future__ import annotations

import statistics
from pathlib import Path

from platformd.cli.bench.floors import CannotMeasure, Floors
from platformd.cli.bench.report import Report, ms, percentile
from platformd.cli.bench.stage import Subject, folder_and_server
from platformd.cli.bench.traffic import Visitor, burst
from platformd.cli.local import LocalServer
from platformd.cli.scripts import executable

ROUNDS = 3
MARGIN = 0.4
SOURCE = Path(__file__).with_name("listing.py")


def measure(clients: int) -> Report:
    """A tiny server, and an unmodified `python3 -m http.server`, whose listen queue is 5 long."""
    report = Report("herd", figures={"clients": clients})
    with folder_and_server() as (folder, server):
        floors = Floors(folder)
        script = executable(SOURCE, folder / "listing")
        if script is None:
            raise CannotMeasure(f"no Python can be started from {folder}; name another place with TMPDIR")
        server.add_flags(*script.flags)
        server.start()
        tiny = Subject(server.client, "tiny", floors.server)
        _stampede(report, "tiny_c", "tiny C server", server, tiny, clients, timed=True)
        listing = Subject(server.client, "listing", script.path, resources={"memory": "512Mi"})
        _stampede(report, "http_server", "python3 -m http.server", server, listing, clients, timed=False)
    return report


def _stampede(
    report: Report, name: str, title: str, server: LocalServer, subject: Subject, clients: int, *, timed: bool
) -> None:
    start = statistics.median(_lone_wake(server, subject) for _ in range(ROUNDS))
    subject.sleep()
    answered, starts, last, halfway = [], [], [], []
    for _ in range(ROUNDS):
        before = subject.starts()
        found = burst(server.gateway_url, [subject.host] * clients)
        answered.append(found.statuses.get(200, 0))
        subject.sleep()  # a start's row is written behind, a sleep's is not
        starts.append(subject.starts() - before)
        last.append(found.last)
        halfway.append(percentile(found.seconds, 50))
    took, worst = statistics.median(last), max(last)
    report.figures[name] = {
        "lone_wake": start,
        "answered": answered,
        "starts": starts,
        "last": last,
        "halfway": halfway,
    }
    all_well = all(count == clients for count in answered)
    report.add(f"{title}: answered 200", _each(answered), f"{clients} of {clients}", all_well)
    report.add(f"{title}: starts", _each(starts), "1", all(count == 1 for count in starts))
    goal = f"{ms(start)} (a lone wake) + {ms(MARGIN)}" if timed else ""
    measured = f"{ms(took)}, worst {ms(worst)}, half of them {ms(statistics.median(halfway))}"
    report.add(f"{title}: all done after", measured, goal, took <= start + MARGIN if timed else None)


def _lone_wake(server: LocalServer, subject: Subject) -> float:
    """Seconds of one request, alone."""
    subject.sleep()
    with Visitor(server.gateway_url, subject.host) as visitor:
        return visitor.visit().seconds


def _each(counts: list[int]) -> str:
    """One number when all are the same, else all of them."""
    return ", ".join(str(count) for count in (counts if len(set(counts)) > 1 else counts[:1]))
