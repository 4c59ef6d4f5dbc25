"""Containers through a whole server: deployed, served, asleep, woken, and there again after kill -9."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.commands import Commands
from tests.docker.conftest import TINY
from tests.docker.engine import DockerEngine
from tests.docker.registry import NEW_PASSWORD, PASSWORD, USER, login, registry, set_password
from tests.docker.test_images import publish
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")


@pytest.fixture
def platform(engine: DockerEngine) -> Iterator[Platform]:
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o711)
    server = Platform(root / "data", env={"PLATFORMD_DOCKER_HOST": engine.address})
    try:
        yield server.start()
    finally:
        server.destroy()
        engine.remove_containers()
        shutil.rmtree(root, ignore_errors=True)


def deployed(platform: Platform, **spec: object) -> dict[str, object]:
    body = {"process_type": "docker", "image": TINY, "environment": "production", **spec}
    made = platform.api("POST", f"/apps/{platform.app()['id']}/deployments", body)
    assert made.status == 201, made.text
    return platform.wait(made.json["id"], lambda d: d["status"] != "pending", timeout=40)


def test_the_source_documents_container(platform: Platform) -> None:
    """Replicas, resources, port, health path and variables as in its example."""
    found = deployed(
        platform,
        replicas=2,
        resources={"cpu": "250m", "memory": "256Mi"},
        networking={"port": 8080, "health_path": "/health"},
        env={"LOG_LEVEL": "info"},
    )
    assert (found["status"], found["phase"], found["tasks_ready"]) == ("running", "ready", 2)
    assert str(found["image_digest"]).startswith("sha256:")
    assert platform.get(host_of(found)).text.strip() == "ok"
    tasks = platform.tasks(str(found["id"]))
    assert {task["pid"] for task in tasks} == {None}
    assert len({task["container_id"] for task in tasks}) == 2


def test_a_pull_is_followed_from_the_command_line(platform: Platform, engine: DockerEngine) -> None:
    """As events, as `system` lines, and in what `deploy` tells."""
    with registry() as host:
        publish(engine, f"{host}/team/tiny:1", TINY)
        done = Commands(platform)("deploy", "pulled", "--image", f"{host}/team/tiny:1")
        assert f"pulling {host}/team/tiny:1\n" in done.stderr
        assert f"pulled {host}/team/tiny:1 in " in done.stderr
        events = Commands(platform).json("events", "--app", "pulled", "--type", "image.")
        assert [event["type"] for event in events][:: len(events) - 1] == ["image.pulling", "image.pulled"]
        assert events[0]["data"]["image"] == f"{host}/team/tiny:1"
        assert f"pulling image {host}/team/tiny:1" in Commands(platform)("logs", "pulled@1").stdout


def test_a_password_that_is_missing_wrong_right_or_changed(
    platform: Platform, engine: DockerEngine, tmp_path: Path
) -> None:
    """A deployment whose registry refuses the app's credentials fails with words of what to do, and without them."""
    app, htpasswd = platform.app()["id"], tmp_path / "htpasswd"
    set_password(htpasswd, PASSWORD)
    with registry(htpasswd) as host:
        for tag in ("1", "2"):
            publish(engine, f"{host}/team/secret:{tag}", TINY, **login(PASSWORD))

        def give(password: str) -> None:
            body = {"host": host, "username": USER, "password": password}
            made = platform.api("POST", f"/apps/{app}/registries", body)
            assert made.status == 201, made.text

        def outcome(tag: str) -> object:
            body = {"process_type": "docker", "image": f"{host}/team/secret:{tag}"}
            made = platform.api("POST", f"/apps/{app}/deployments", body)
            assert made.status == 201, made.text
            shown = platform.wait(made.json["id"], lambda d: d["status"] != "pending", 40)
            assert PASSWORD not in str(shown["reason"])
            return shown["reason"]["code"] if shown["status"] == "failed" else shown["status"]

        assert outcome("1") == "REGISTRY_UNAUTHORIZED"
        give("wrong")
        assert outcome("1") == "REGISTRY_UNAUTHORIZED"
        give(PASSWORD)
        assert outcome("1") == "running"
        set_password(htpasswd, NEW_PASSWORD)
        assert outcome("2") == "REGISTRY_UNAUTHORIZED"
        give(NEW_PASSWORD)
        assert outcome("2") == "running"
    assert PASSWORD not in (said := platform.log.read_text()) and NEW_PASSWORD not in said


def test_a_herd_wakes_one_container(platform: Platform) -> None:
    found = deployed(platform, env={"START_MS": "300"})
    platform.sleep(str(found["id"]))
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: platform.get(host_of(found)).status, range(200)))
    assert answers == [200] * 200
    assert len(platform.tasks(str(found["id"]))) == 2


def test_a_wake_starts_what_was_made_when_it_fell_asleep(platform: Platform, engine: DockerEngine) -> None:
    """Also when the server was killed meanwhile; and nothing is left of what is cancelled."""
    found = deployed(platform)
    platform.sleep(str(found["id"]))
    [made] = eventually(lambda: _waiting(engine))
    platform.kill()
    platform.start()
    eventually(lambda: platform.readyz()["checks"].get("docker") == {"status": "ok"})
    assert platform.get(host_of(found)).status == 200
    [task] = eventually(lambda: platform.tasks(str(found["id"]), "running"))
    assert task["container_id"] == made
    platform.sleep(str(found["id"]))
    eventually(lambda: _waiting(engine))
    assert platform.api("POST", f"/deployments/{found['id']}/cancel").status == 200
    eventually(lambda: not _waiting(engine), 25)


def _waiting(engine: DockerEngine) -> list[str]:
    with engine.client() as client:
        return [one["Id"] for one in client.containers(all=True, filters={"status": "created"})]


def test_a_frozen_container_goes_on_where_it_stood(platform: Platform) -> None:
    found = deployed(platform, sleep={"mode": "freeze"})
    platform.sleep(str(found["id"]))
    assert platform.get(host_of(found)).status == 200
    assert len(platform.tasks(str(found["id"]))) == 1


def test_kill_9_leaves_the_container_and_what_it_serves(platform: Platform) -> None:
    found = deployed(platform)
    before = platform.tasks(str(found["id"]), "running")
    platform.kill()
    platform.start()
    assert platform.get(host_of(found)).status == 200
    after = eventually(lambda: platform.tasks(str(found["id"]), "running"))
    assert [(task["container_id"], task["restarts"]) for task in after] == [(before[0]["container_id"], 0)]
    cancelled = platform.api("POST", f"/deployments/{found['id']}/cancel")
    assert cancelled.status == 200
    platform.wait(str(found["id"]), lambda d: d["phase"] == "done", timeout=30)


def test_a_new_image_takes_over_without_a_failed_request(platform: Platform, engine: DockerEngine) -> None:
    found = deployed(platform, replicas=2)
    with engine.client() as client:
        client.tag(TINY, "platformd-test/tiny", "2")
    failed: list[int] = []
    done = False

    def load() -> None:
        while not done:
            status = platform.get(host_of(found)).status
            if status != 200:
                failed.append(status)

    with ThreadPoolExecutor(4) as clients:
        loads = [clients.submit(load) for _ in range(4)]
        try:
            change = {"spec": {"image": "platformd-test/tiny:2"}}
            answer = platform.api("PATCH", f"/deployments/{found['id']}", change)
            assert answer.status == 200, answer.text
            platform.wait(
                str(found["id"]),
                lambda d: d["phase"] == "ready" and d["observed_generation"] == d["generation"] == 2,
                timeout=60,
            )
        finally:
            done = True
        for one in loads:
            one.result()
    assert failed == []
