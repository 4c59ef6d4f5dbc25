"""What Prometheus is told: how things are, what has happened, and nothing of what is gone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors import measures
from actors.measures import Measures
from actors.runtime import PoolRuntime
from platformd import clock
from platformd.domain import commands
from platformd.domain.notice import Event, Notice
from platformd.domain.snapshot import Exit
from platformd.gateway.protocol import WAITS
from tests.actors.stage import Stage
from tests.architecture.house import ROOT

Values = dict[tuple[str, str], float]
START_AT_ZERO = "platformd_wakes_total", "platformd_task_restarts_total", "platformd_dead_letters_total"


@pytest.fixture
def measured(stage: Stage) -> Measures:
    state = {"ready": True, "checks": {"store": {"status": "ok"}, "docker": {"status": "degraded"}}}
    return Measures(stage.store, stage.directory, PoolRuntime(), stage.traffic, lambda: state, "1.2.3")


@pytest.fixture
def heard(stage: Stage) -> Iterator[None]:
    """Events of this stage are counted, as the service's are."""
    publish = stage.store._writer._publish

    def both(events: list[Event], revisions: object) -> None:
        publish(events, revisions)  # type: ignore[arg-type]
        measures.heard(events)

    stage.store._writer._publish = both  # type: ignore[assignment]
    yield
    stage.store._writer._publish = publish


def values(measured: Measures) -> Values:
    """Each series by its name and the values of its labels."""
    families = text_string_to_metric_families(measured.exposition().decode())
    return {
        (sample.name, " ".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def report(stage: Stage, id: str, inflight: int = 0, held: int = 0, **more: object) -> None:
    seen = {"inflight": inflight, "held": held, "requests": {"2xx": 2, "499": 1}}
    load = {"op": "load", "deployments": {id: seen}, "total_inflight": inflight, "total_held": held}
    stage.traffic.on_report({**load, **more})


def grown(before: Values, after: Values) -> dict[tuple[str, str], float]:
    return {
        key: value - before.get(key, 0.0)
        for key, value in after.items()
        if key[0].endswith(("_total", "_count")) and value != before.get(key, 0.0)
    }


def test_rows_are_counted_by_phase_and_state(stage: Stage, measured: Measures) -> None:
    stage.asleep()
    stage.deploy("production", replicas=2)
    stage.ask(stage.deploy("staging"), commands.Cancel())
    now = values(measured)
    assert now["platformd_deployments", "asleep"] == 1
    assert now["platformd_deployments", "ready"] == 1
    assert now["platformd_deployments", "done"] == 1
    assert now["platformd_deployments", "waking"] == 0
    assert now["platformd_tasks", "running"] == 2
    assert now["platformd_actors", "task"] == 2
    assert now["platformd_actor_mailbox_messages", "task facts"] == 0
    assert now["platformd_component_healthy", "store"] == 1
    assert now["platformd_component_healthy", "docker"] == 0
    assert now["platformd_build_info", "1.2.3"] == 1


def test_wakes_and_ends_of_tasks_are_counted(stage: Stage, measured: Measures, heard: None) -> None:
    id = stage.asleep()
    before = values(measured)
    stage.traffic.on_report({"op": "wake", "deployment": id, "held": 1})
    grew = grown(before, values(measured))
    assert grew["platformd_wakes_total", "ready"] == 1
    assert grew["platformd_wake_duration_seconds_count", ""] == 1
    assert grew["platformd_task_starts_total", ""] == 1
    assert grew["platformd_events_total", "wake"] == 2

    before = values(measured)
    (task,) = stage.living(id)
    stage.driver.exit(task, Exit(code=3))
    grew = grown(before, values(measured))
    assert grew["platformd_task_exits_total", "failed"] == 1
    assert grew["platformd_task_restarts_total", ""] == 1


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        ({"asked": True, "exit_code": 0}, "asked"),
        ({"asked": False, "exit_code": 0}, "finished"),
        ({"asked": False, "exit_code": 3}, "failed"),
        ({"asked": False, "exit_code": None, "signal": "SIGKILL", "oom_killed": True}, "oom_killed"),
    ],
)
def test_every_end_has_one_cause(measured: Measures, data: dict[str, object], cause: str) -> None:
    before = values(measured)
    notice = Notice(kind="task", type="task.exited", app_id="a", data={**data, "next_try_in_secs": None})
    measures.heard([Event(1, clock.now(), notice)])
    ends = {
        key: value
        for key, value in grown(before, values(measured)).items()
        if key[0].startswith("platformd_task")
    }
    assert ends == {("platformd_task_exits_total", cause): 1}


def test_requests_of_a_finished_deployment_are_in_the_totals_only(stage: Stage, measured: Measures) -> None:
    id = stage.deploy()
    report(stage, id, inflight=3, held=2)
    now = values(measured)
    assert now["platformd_deployment_requests_total", f"2xx {id}"] == 2
    assert now["platformd_deployment_info", f"default/shop {id} development 1"] == 1
    assert now["platformd_gateway_inflight_requests", ""] == 3
    assert now["platformd_gateway_held_requests", ""] == 2
    stage.ask(id, commands.Cancel())
    report(stage, id)
    assert stage.traffic.loads == {}
    now = values(measured)
    assert not [labels for _, labels in now if id in labels]
    assert now["platformd_gateway_requests_total", "2xx"] == 4
    assert now["platformd_gateway_requests_total", "499"] == 2


def test_what_was_held_adds_up(stage: Stage, measured: Measures) -> None:
    id = stage.deploy()
    waits = [0] * (len(WAITS) + 1)
    waits[0], waits[3], waits[-1] = 2, 1, 1
    for _ in range(2):
        report(stage, id, waits=waits, waited=70.5)
    report(stage, id)  # as a gateway of an earlier release does
    name = "platformd_gateway_queue_duration_seconds"
    now = values(measured)
    assert now[f"{name}_bucket", "0.001"] == 4
    assert now[f"{name}_bucket", "0.01"] == 6
    assert now[f"{name}_bucket", "60.0"] == 6
    assert now[f"{name}_bucket", "+Inf"] == now[f"{name}_count", ""] == 8
    assert now[f"{name}_sum", ""] == 141


def test_single_deployments_are_bounded(
    stage: Stage, measured: Measures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "MOST_SERIES", 1)
    first, second = stage.deploy(), stage.deploy("production")
    for id in (first, second):
        report(stage, id)
    now = values(measured)
    assert now["platformd_deployment_requests_total", f"2xx {first}"] == 2
    assert ("platformd_deployment_requests_total", f"2xx {second}") not in now


def test_failures_of_actors_are_counted(stage: Stage, measured: Measures) -> None:
    id = stage.asleep()
    before = values(measured)
    stage.driver_faults.fail("launch")
    stage.traffic.on_report({"op": "wake", "deployment": id, "held": 1})
    grew = grown(before, values(measured))
    assert grew["platformd_actor_failures_total", "task"] == 1
    assert grew["platformd_dead_letters_total", ""] == 1


def test_series_are_there_before_anything_happens() -> None:
    """In a process that has done nothing yet."""
    script = "from platformd import metrics; print(metrics.exposition().decode())"
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for name in START_AT_ZERO:
        assert re.search(rf"^{name}(\{{.*\}})? 0\.0$", text, re.MULTILINE), name


# ---- what is said about them -------------------------------------------------------------------------------


def test_the_manual_lists_every_metric(measured: Measures) -> None:
    families = list(text_string_to_metric_families(measured.exposition().decode()))
    rows = re.findall(
        r"^\| `(platformd_\w+)` \| (\w+) \| .* \| (.*) \|$",
        (ROOT / "platformd" / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    shown = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation)
        for family in families
        if family.name.startswith("platformd_")
    }
    assert set(rows) == shown


def test_the_grafana_dashboard_asks_for_what_there_is(stage: Stage, measured: Measures) -> None:
    names = {name for name, _ in values(measured)}
    report(stage, stage.deploy())
    names |= {name for name, _ in values(measured)}
    dashboard = json.loads((ROOT / "platformd" / "packaging" / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found = {name for expression in asked for name in re.findall(r"\b(?:platformd|process)_\w+", expression)}
    assert found - names == set()
    assert len(asked) > 20


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_to_say(stage: Stage, measured: Measures) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    report(stage, stage.deploy())
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=measured.exposition(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
