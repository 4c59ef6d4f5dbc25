"""The gate that starts go through when there are many."""

from __future__ import annotations

import threading
from collections.abc import Callable

from platformd.domain.spec import DeploymentSpec
from platformd.drivers.base import LaunchOrder
from platformd.drivers.gate import Gate
from platformd.drivers.run import Run, unborn


def run_of(name: str) -> Run:
    order = LaunchOrder(
        task_id=name,
        deployment_id="d",
        slot=0,
        generation=1,
        app_name="app",
        environment="development",
        spec=DeploymentSpec(),
        executable=None,
    )
    return Run(order, None, unborn(name))


class Watched:
    """A gate of two places that remembers whom it let in; `jobs` are what it wants run later."""

    def __init__(self, patience: float = 1000.0, begin: Callable[[Run], None] | None = None) -> None:
        self.begun: list[str] = []
        self.jobs: list[Callable[[], None]] = []
        self.also = begin
        self.gate = Gate(self._begin, lambda _, job: self.jobs.append(job), places=2, patience=patience)

    def _begin(self, run: Run) -> None:
        self.begun.append(run.task_id)
        if self.also is not None:
            self.also(run)

    def enter(self, *names: str) -> list[Run]:
        runs = [run_of(name) for name in names]
        for run in runs:
            self.gate.enter(run)
        return runs


def test_no_more_than_there_are_places_and_in_order() -> None:
    watched = Watched()
    watched.enter("a", "b", "c", "d")
    assert watched.begun == ["a", "b"]
    watched.gate.leave("b")
    assert watched.begun == ["a", "b", "c"]
    watched.gate.leave("b")
    watched.gate.leave("nobody")
    assert watched.begun == ["a", "b", "c"]
    watched.gate.leave("c")
    watched.gate.leave("a")
    watched.enter("e")
    assert watched.begun == ["a", "b", "c", "d", "e"]


def test_who_was_forgotten_in_the_line_is_passed_over() -> None:
    watched = Watched()
    _, _, third, _ = watched.enter("a", "b", "c", "d")
    third.forgotten = True
    watched.gate.leave("a")
    assert watched.begun == ["a", "b", "d"]


def test_a_slow_one_gives_up_its_place_but_not_at_once() -> None:
    patient, hasty = Watched(), Watched(patience=0.0)
    for watched in (patient, hasty):
        watched.enter("a", "b", "c")
        assert len(watched.jobs) == 1, "one look for all that wait"
        watched.jobs.pop()()
    assert patient.begun == ["a", "b"]
    assert len(patient.jobs) == 1
    assert hasty.begun == ["a", "b", "c"]


def test_thousands_that_fail_at_once_do_not_pile_up_on_the_stack() -> None:
    watched = Watched(begin=lambda run: watched.gate.leave(run.task_id) if broken else None)
    broken = False
    watched.enter("a", "b", *(str(number) for number in range(5000)))
    assert len(watched.begun) == 2
    broken = True
    watched.gate.leave("a")
    assert len(watched.begun) == 5002


def test_one_that_raises_keeps_nobody_out() -> None:
    watched = Watched(begin=lambda run: 1 / 0 if run.task_id == "bad" else None)  # type: ignore[func-returns-value]
    try:
        watched.enter("bad")
    except ZeroDivisionError:
        watched.gate.leave("bad")
    watched.enter("a", "b", "c")
    assert watched.begun == ["bad", "a", "b"]


def test_many_threads() -> None:
    """Everybody gets in once, never more than two at a time."""
    lock, inside, most = threading.Lock(), 0, 0

    def begin(run: Run) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        leaver = threading.Thread(target=leave, args=(run.task_id,))
        leaver.start()
        threads.append(leaver)

    def leave(task_id: str) -> None:
        nonlocal inside
        with lock:
            inside -= 1
        watched.gate.leave(task_id)

    threads: list[threading.Thread] = []
    watched = Watched(begin=begin)
    for number in range(400):
        entering = threading.Thread(target=watched.enter, args=(str(number),))
        entering.start()
        threads.append(entering)
    while threads:
        threads.pop().join(10)
    assert sorted(watched.begun, key=int) == [str(number) for number in range(400)]
    assert most <= 2
