"""serve dies while it fetches, builds or stores: the build begins again or has ended, and is never half."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.building import build_of, log_of, make_app, packed, send, set_source, settled, trees_kept
from tests.e2e.conftest import open_folder
from tests.e2e.platform import Platform, host_of
from tests.e2e.processes import processes_of
from tests.git_host import GitHost
from tests.support import eventually

SERVER = "#!/bin/sh\nexec python3 -m http.server $PORT --bind $HOST\n"
DEATH_SECS = 30.0
EFFECTS = (
    *("EnterQueue", "Fetch", "RunCommand", "SweepRun", "ForgetRun", "Collect", "Deploy", "CleanUp"),
    "LeaveQueue",
)


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git")).serving() as host:
        host.repository("octo/server").commit({"server": SERVER})
        yield host


@pytest.fixture
def server(git_host: GitHost) -> Iterator[Platform]:
    root = open_folder()
    running = Platform(root / "data", "--github-url", git_host.url)
    try:
        yield running.start()
    finally:
        running.destroy()
        shutil.rmtree(root, ignore_errors=True)


def source(server: Platform, command: str, name: str = "web") -> str:
    app_id = make_app(server, name)
    build = {"kind": "command", "command": command, "artifact_path": "server"}
    set_source(server, app_id, repository="octo/server", build=build)
    return app_id


def queue(server: Platform, app_id: str) -> str:
    return server.api("POST", "/builds", {"app_id": app_id}).json["id"]


def only_build(server: Platform) -> str:
    [build] = server.api("GET", "/builds").json["data"]
    return build["id"]


def waiting_for(server: Platform, app_id: str) -> str:
    return server.api("POST", f"/apps/{app_id}/deployments", {}).json["id"]


def succeeded_once(server: Platform, build_id: str, deployment_id: str) -> dict[str, Any]:
    """The build has made what its one deployment runs, and left nothing."""
    build = settled(server, build_id)
    assert build["state"] == "succeeded", log_of(server, build_id)
    assert build["deployment_id"] == deployment_id
    made = server.wait(deployment_id, lambda d: d["status"] == "running", 60)
    assert made["spec"]["artifact_id"] == build["artifact_id"]
    assert server.get(host_of(made)).status == 200
    eventually(lambda: not list((server.data_dir / "builds" / "trees").iterdir()))
    assert not list((server.data_dir / "artifacts").glob(".upload-*"))
    return build


def test_killed_while_it_fetches_the_build_begins_again(server, git_host):
    app_id = source(server, "true")
    deployment_id = waiting_for(server, app_id)
    git_host.gate.clear()
    git_host.waiting.clear()
    build_id = queue(server, app_id)
    assert git_host.waiting.wait(30)
    server.kill()
    git_host.gate.set()
    server.start()
    assert succeeded_once(server, build_id, deployment_id)["attempt"] == 2
    assert any("begins again" in line for line in log_of(server, build_id))


def test_killed_while_it_builds_the_first_command_is_ended_and_another_is_run(server, git_host):
    app_id = source(server, "test -e $HOME/once || { touch $HOME/once; setsid sleep 86396; }")
    deployment_id = waiting_for(server, app_id)
    build_id = queue(server, app_id)
    eventually(lambda: processes_of(server, "86396"), 30)
    before = build_of(server, build_id)
    server.kill()
    server.start()
    build = succeeded_once(server, build_id, deployment_id)
    assert (build["attempt"], build["started_at"]) == (2, before["started_at"])
    assert not processes_of(server, "86396")


def test_a_deadline_holds_over_restarts(git_host):
    root = open_folder()
    server = Platform(root / "data", "--github-url", git_host.url, "--build-timeout", "8")
    try:
        server.start()
        app_id = source(server, "sleep 86395")
        build_id = queue(server, app_id)
        eventually(lambda: processes_of(server, "86395"), 30)
        began = build_of(server, build_id)["started_at"]
        server.kill()
        server.start()
        build = settled(server, build_id)
        assert (build["state"], build["reason"]["code"]) == ("failed", "BUILD_TIMEOUT")
        assert build["started_at"] == began
        assert not processes_of(server, "86395")
    finally:
        server.destroy()
        shutil.rmtree(root, ignore_errors=True)


def test_a_command_whose_time_ran_out_while_nobody_was_there_is_ended_at_the_start(git_host):
    root = open_folder()
    server = Platform(root / "data", "--github-url", git_host.url, "--build-timeout", "5")
    try:
        server.start()
        build_id = queue(server, source(server, "setsid sleep 86393 & sleep 86393"))
        eventually(lambda: len(processes_of(server, "86393")) >= 2, 30)
        began = datetime.fromisoformat(build_of(server, build_id)["started_at"])
        server.kill()
        eventually(lambda: datetime.now(UTC) > began + timedelta(seconds=5), 10)
        assert processes_of(server, "86393")
        server.start()
        build = settled(server, build_id)
        assert (build["state"], build["reason"]["code"]) == ("failed", "BUILD_TIMEOUT")
        assert build["attempt"] == 1
        assert not processes_of(server, "86393")
    finally:
        server.destroy()
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize("effect", ["EnterQueue", "Fetch", "RunCommand", "SweepRun", "Collect", "Deploy"])
def test_a_build_whose_actor_fails_over_and_over_has_failed_and_gives_its_turn_back(git_host, effect):
    root = open_folder()
    server = Platform(root / "data", "--github-url", git_host.url, "--builds-at-once", "1")
    try:
        server.start(PLATFORMD_FAULT_AT=f"{effect} RuntimeError bad")
        bad, good = source(server, "sleep 86392 & true", "bad"), source(server, "true", "good")
        waiting = waiting_for(server, bad)
        first, second = queue(server, bad), queue(server, good)
        build = settled(server, first)
        if effect == "Deploy":
            assert (build["state"], build["reason"]["code"]) == ("succeeded", "BUILD_QUARANTINED")
        else:
            assert (build["state"], build["reason"]["code"]) == ("failed", "BUILD_QUARANTINED")
            assert "injected" in build["reason"]["message"]
        if effect in ("Fetch", "RunCommand", "SweepRun"):
            assert build["attempt"] == 6, "it began again after each failure but the last"
        assert settled(server, second)["state"] == "succeeded"
        assert eventually(lambda: not processes_of(server, "86392"))
        later = queue(server, good)
        server.kill()
        server.start()  # without the fault
        assert build_of(server, first)["state"] == build["state"]
        assert settled(server, later)["state"] == "succeeded"
        assert settled(server, queue(server, bad))["state"] == "succeeded"
        assert server.wait(waiting, lambda d: d["phase"] != "waiting_for_build")
    finally:
        server.destroy()
        shutil.rmtree(root, ignore_errors=True)


def test_stopped_in_good_order_no_command_stays_behind(server, git_host):
    app_id = source(server, "test -e $HOME/once || { touch $HOME/once; sleep 86394; }")
    deployment_id = waiting_for(server, app_id)
    build_id = queue(server, app_id)
    eventually(lambda: processes_of(server, "86394"), 30)
    server.terminate()
    assert not processes_of(server, "86394")
    server.start()
    succeeded_once(server, build_id, deployment_id)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("side", ["before", "after"])
def test_killed_between_any_two_orders_it_comes_to_the_same_end(git_host, side, effect):
    root = open_folder()
    server = Platform(root / "data", "--github-url", git_host.url)
    try:
        server.start(PLATFORMD_CRASH_AT=f"{side}:{effect}")
        app_id = source(server, "true")
        deployment_id = waiting_for(server, app_id)
        with contextlib.suppress(ConnectionError):  # it may die before it answers
            queue(server, app_id)
        _await_death(server)
        server.start()
        build_id = only_build(server)
        succeeded_once(server, build_id, deployment_id)
        artifacts = [path for path in (server.data_dir / "artifacts").iterdir() if path.is_file()]
        assert len(artifacts) == 1
    finally:
        server.destroy()
        shutil.rmtree(root, ignore_errors=True)


def _await_death(server: Platform) -> None:
    assert server.process is not None
    server.process.wait(DEATH_SECS)
    server._reap()


def test_killed_before_the_waiting_deployment_heard_it_hears_afterwards(git_host):
    root = open_folder()
    server = Platform(root / "data", "--github-url", git_host.url)
    try:
        server.start(PLATFORMD_CRASH_AT="before:FillIn")
        app_id = source(server, "true")
        deployment_id = waiting_for(server, app_id)
        build_id = queue(server, app_id)
        _await_death(server)
        server.start()
        succeeded_once(server, build_id, deployment_id)
    finally:
        server.destroy()
        shutil.rmtree(root, ignore_errors=True)


def test_killed_right_after_a_tree_was_taken_it_is_built_after_the_start(server):
    app_id = source(server, "sleep 1")
    deployment_id = waiting_for(server, app_id)
    build_id = send(server, app_id, packed({"server": SERVER}))
    server.kill()
    server.start()
    assert succeeded_once(server, build_id, deployment_id)["commit"] is None
    assert eventually(lambda: trees_kept(server) == [])


@pytest.mark.parametrize("at", ["before:Fetch", "after:Fetch", "before:CleanUp", "after:CleanUp"])
def test_a_tree_that_was_sent_is_there_for_as_long_as_its_build_may_begin_again(git_host, at):
    root = open_folder()
    server = Platform(root / "data", "--github-url", git_host.url)
    try:
        server.start(PLATFORMD_CRASH_AT=at)
        app_id = source(server, "true")
        deployment_id = waiting_for(server, app_id)
        with contextlib.suppress(ConnectionError):  # it may die before it answers
            send(server, app_id, packed({"server": SERVER}))
        _await_death(server)
        server.start()
        build_id = only_build(server)
        succeeded_once(server, build_id, deployment_id)
        assert eventually(lambda: trees_kept(server) == [])
    finally:
        server.destroy()
        shutil.rmtree(root, ignore_errors=True)
