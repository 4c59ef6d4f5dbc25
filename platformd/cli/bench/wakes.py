"""`bench cold-start`: one sleeping app woken again and again, over the floor measured in between."""

from __future__ import annotations

from platformd.cli.bench.floors import CannotMeasure, Floors
from platformd.cli.bench.report import Report, ms, percentile
from platformd.cli.bench.stage import Subject, folder_and_server, put_in_stock
from platformd.cli.bench.traffic import Visitor
from platformd.cli.local import LocalServer, pause

SPACING_MS = 50
_BLOCKS = 4  # floor and wakes take turns, so that a noisy neighbour hits both
P50_GOAL, P99_GOAL = 0.0015, 0.006


def measure(wakes: int, sleeping: int) -> Report:
    """Among one sleeping deployment, and among `sleeping` if that is not 0."""
    report = Report("cold-start", figures={"wakes": wakes, "sleeping": sleeping})
    with folder_and_server() as (folder, server):
        floors = Floors(folder)
        server.start()
        subject = Subject(server.client, "subject", floors.server)
        subject.sleep()
        _compare(report, "one", server, subject, floors, wakes)
        if sleeping:
            server.stop()
            put_in_stock(server.data_dir, subject.id, sleeping)
            server.start()
            subject.moved_to(server.client)
            _compare(report, "many", server, subject, floors, wakes)
    return report


def _compare(
    report: Report, name: str, server: LocalServer, subject: Subject, floors: Floors, wakes: int
) -> None:
    blocks = min(_BLOCKS, wakes)
    floor: list[float] = []
    woken: list[float] = []
    for block in range(blocks):
        count = wakes // blocks + (block < wakes % blocks)
        floor += floors.one_by_one(count, SPACING_MS)
        woken += woken_ones(server, subject, count)
    among = "1" if name == "one" else f"{report.figures['sleeping'] + 1:,}"
    figures = report.figures[f"among_{name}"] = {}
    for percent, goal in ((50, P50_GOAL), (99, P99_GOAL)):
        base, found = percentile(floor, percent), percentile(woken, percent)
        figures |= {f"floor_p{percent}": base, f"wake_p{percent}": found}
        measured = f"{ms(found)}, floor {ms(base)}: {(found - base) * 1000:+.2f} ms"
        what = f"wake among {among} sleeping, p{percent}"
        report.add(what, measured, f"floor + {goal * 1000:g} ms", found - base <= goal)


def woken_ones(server: LocalServer, subject: Subject, count: int) -> list[float]:
    """Seconds of each wake; it sleeps before and after."""
    took = []
    with Visitor(server.gateway_url, subject.host) as visitor:
        for _ in range(count):
            pause(SPACING_MS / 1000)
            visit = visitor.visit()
            if visit.status != 200 or not visit.cold:
                raise CannotMeasure(
                    f"a wake was answered with {visit.status}{'' if visit.cold else ', warm'}"
                )
            took.append(visit.seconds)
            subject.sleep()
    return took
