"""Dead letters: bounded, newest first, and without the secrets their messages carried."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from actors.dead_letters import LONGEST_LIST, LONGEST_TEXT, MASK, DeadLetters
from actors.messages import DeadLetter, Key, Reason
from actors.task import Birth
from platformd.domain.spec import DeploymentSpec
from platformd.domain.task import Task
from platformd.drivers.base import LaunchOrder

AT = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "hunter2-correct-horse"


def letter(message: object, error: str = "RuntimeError: no", traceback: str = "") -> DeadLetter:
    return DeadLetter(Key("task", "t"), message, Reason.FAILED, error, traceback, AT)


def birth(**env: str) -> Birth:
    task = Task(id="t", deployment_id="d", app_id="a", slot=0, generation=1, created_at=AT, updated_at=AT)
    order = LaunchOrder(
        task_id="t",
        deployment_id="d",
        slot=0,
        generation=1,
        app_name="shop",
        environment="development",
        spec=DeploymentSpec(artifact_id="x", env=env, args=("--token", SECRET)),
        executable=Path("/artifacts/x"),
    )
    return Birth(task, order, {})


def kept(message: object, **how: str) -> Any:
    letters = DeadLetters()
    letters(letter(message, **how))
    (one,) = letters.page()
    return one


def test_a_letter_says_whom_what_why_and_when() -> None:
    one = kept(birth(DB_PASSWORD=SECRET), traceback="Traceback …")
    assert (one.number, one.key, one.message, one.reason, one.at) == (
        1, Key("task", "t"), "Birth", Reason.FAILED, AT,
    )  # fmt: skip
    assert (one.error, one.traceback) == ("RuntimeError: no", "Traceback …")
    assert one.content["task"]["phase"] == "pending"
    assert one.content["order"]["executable"].endswith("artifacts/x')")
    assert json.loads(json.dumps(one.content)) == one.content


def test_values_of_variables_are_nowhere_in_it() -> None:
    one = kept(
        birth(DB_PASSWORD=SECRET, SHORT="on"),
        error=f"OSError: cannot run with {SECRET}",
        traceback=f"  File x\n    {SECRET!r}\n",
    )
    assert one.content["order"]["spec"]["env"] == {"DB_PASSWORD": MASK, "SHORT": MASK}
    assert one.content["order"]["spec"]["args"] == ["--token", MASK], (
        "the same value elsewhere is hidden, too"
    )
    assert SECRET not in repr(one)


def test_a_short_value_does_not_turn_texts_into_stars() -> None:
    one = kept(birth(A="e"), error="RuntimeError: one")
    assert one.error == "RuntimeError: one"


def test_of_secrets_within_each_other_the_longer_goes_first() -> None:
    one = kept(birth(A=SECRET, B=SECRET[:8]), error=SECRET)
    assert one.error == MASK


def test_the_newest_are_kept() -> None:
    letters = DeadLetters(kept=3)
    for number in range(5):
        letters(letter(number))
    assert [one.number for one in letters.page()] == [5, 4, 3]
    assert [one.content for one in letters.page(offset=1, limit=1)] == [3]
    assert len(letters) == 3


@dataclass
class Odd:
    deep: Any = None
    texts: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Wordless:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_anything_can_be_shown() -> None:
    endless = Odd()
    endless.deep = endless
    endless.texts = ["x" * 10_000] * 1000
    one = kept(endless)
    assert one.message == "Odd"
    assert len(one.content["texts"]) == LONGEST_LIST
    assert len(one.content["texts"][0]) == LONGEST_TEXT + 1
    assert len(json.dumps(one.content)) < 200_000
    assert kept("x", traceback="early " + "x" * 100_000 + " late").traceback.endswith(" late")
    assert kept(Wordless()).content == "Wordless"
    assert kept({1: {2, 3}, "at": AT, "raw": b"\xff"}).content == {
        "1": [2, 3], "at": "2026-01-01T00:00:00+00:00", "raw": "b'\\xff'",
    }  # fmt: skip


def test_it_is_logged_without_its_content(logs: list[structlog.typing.EventDict]) -> None:
    kept(birth(DB_PASSWORD=SECRET))
    (entry,) = [entry for entry in logs if entry["event"] == "dead letter"]
    assert (entry["actor"], entry["message"], entry["reason"]) == ("task:t", "Birth", "failed")
    assert SECRET not in repr(entry)
