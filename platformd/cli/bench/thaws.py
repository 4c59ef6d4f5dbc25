"""`bench thaw`: one frozen app thawed again and again, beside the same app asked warm in between."""

from __future__ import annotations

from platformd.cli.bench.floors import CannotMeasure, Floors
from platformd.cli.bench.report import Report, ms, percentile
from platformd.cli.bench.stage import Subject, folder_and_server
from platformd.cli.bench.traffic import Visitor
from platformd.cli.bench.wakes import SPACING_MS
from platformd.cli.local import LocalServer, pause

_BLOCKS = 4
P50_GOAL, P95_GOAL = 0.001, 0.025


def measure(thaws: int) -> Report:
    """Both in turn, so that a noisy neighbour hits both."""
    report = Report("thaw", figures={"thaws": thaws})
    warm: list[float] = []
    thawed: list[float] = []
    with folder_and_server() as (folder, server):
        server.start()
        subject = Subject(server.client, "subject", Floors(folder).server, sleep={"mode": "freeze"})
        blocks = min(_BLOCKS, thaws)
        for block in range(blocks):
            count = thaws // blocks + (block < thaws % blocks)
            warm += visits(server, subject, count, frozen=False)
            thawed += visits(server, subject, count, frozen=True)
        if subject.starts() != 1:
            raise CannotMeasure("it was started anew instead of thawed")
    for percent, goal, beyond in ((50, P50_GOAL, percentile(warm, 50)), (95, P95_GOAL, 0.0)):
        base, found = percentile(warm, percent), percentile(thawed, percent)
        report.figures |= {f"warm_p{percent}": base, f"thaw_p{percent}": found}
        measured = f"{ms(found)}, warm {ms(base)}: {(found - base) * 1000:+.2f} ms"
        words = f"{'warm + ' if beyond else ''}{goal * 1000:g} ms"
        report.add(f"thaw, p{percent}", measured, words, found - beyond <= goal)
    return report


def visits(server: LocalServer, subject: Subject, count: int, *, frozen: bool) -> list[float]:
    """Seconds of each request, of one that runs or after it was frozen."""
    took = []
    with Visitor(server.gateway_url, subject.host) as visitor:
        for number in range(count + 1):
            if frozen:
                subject.sleep()
            pause(SPACING_MS / 1000)
            visit = visitor.visit()
            if visit.status != 200 or (frozen and not visit.cold):
                raise CannotMeasure(f"a thaw was answered with {visit.status}, cold: {visit.cold}")
            if number:  # the first opens the connection
                took.append(visit.seconds)
    return took
