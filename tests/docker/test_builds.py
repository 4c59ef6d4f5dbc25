"""A Dockerfile in a repository becomes an image that runs, on a real engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docker.conftest import TINY
from tests.docker.engine import DockerEngine
from tests.e2e.building import build_of, log_of, make_app, set_source, settled
from tests.e2e.conftest import open_folder
from tests.e2e.hooks import SECRET, TOKEN, pushed_twice
from tests.e2e.platform import Platform, host_of
from tests.git_host import GitHost
from tests.github.server import GitHubServer
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")
DOCKERFILE = f"FROM {TINY}\nENV BUILT=from-git\nCOPY secret.txt /kept.txt\n"


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git")).serving() as host:
        yield host


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server


@pytest.fixture(scope="module")
def server(git_host: GitHost, github: GitHubServer, engine: DockerEngine) -> Iterator[Platform]:
    root = open_folder()
    flags = {"github-url": git_host.url, "github-api-url": github.url, "docker-host": engine.address}
    running = Platform(root / "data", *(f"--{name}={value}" for name, value in flags.items()))
    try:
        yield running.start()
    finally:
        running.destroy()
        shutil.rmtree(root, ignore_errors=True)


def app_of(server: Platform, git_host: GitHost, name: str, files: dict[str, str], **source: Any) -> str:
    git_host.repository(f"octo/{name}").commit(files)
    app_id = make_app(server, name)
    set_source(server, app_id, repository=f"octo/{name}", build={"kind": "dockerfile"}, **source)
    return app_id


def queue(server: Platform, app_id: str) -> str:
    return server.api("POST", "/builds", {"app_id": app_id}).json["id"]


def test_an_image_is_built_pinned_deployed_and_answers(server, git_host, engine):
    app_id = app_of(server, git_host, "image", {"Dockerfile": DOCKERFILE, "secret.txt": "kept"})
    waiting = server.api("POST", f"/apps/{app_id}/deployments", {"process_type": "docker"}).json
    build = settled(server, queue(server, app_id))
    assert build["state"] == "succeeded", log_of(server, build["id"])
    assert build["image_digest"].startswith("sha256:")
    made = server.wait(waiting["id"], lambda d: d["status"] == "running", 60)
    assert (made["spec"]["image"], made["image_digest"]) == (build["image"], build["image_digest"])
    assert server.get(host_of(made)).status == 200
    assert any("ENV BUILT=from-git" in line for line in log_of(server, build["id"]))
    with engine.client() as client:
        client.tag(TINY, *build["image"].split(":"))  # the name means something else by now
    server.sleep(made["id"])
    assert server.get(host_of(made)).status == 200
    with engine.client() as client:
        [container] = client.containers(filters={"label": f"platformd.deployment={made['id']}"})
        assert container["ImageID"] == build["image_digest"]


def test_a_push_is_built_deployed_answered_and_marked_at_github(server, git_host, github, engine):
    app_id = app_of(server, git_host, "shop", {}, webhook_secret=SECRET, access_token=TOKEN)
    repository = git_host.known["octo/shop"]

    def saying(word: str) -> dict[str, str]:
        return {"Dockerfile": f"FROM {TINY}\nENV SAYS={word}\n"}

    made = pushed_twice(server, github, repository, app_id, saying)
    [build] = server.api("GET", f"/builds?app_id={app_id}&page_size=1").json["data"]
    assert (build["deployment_id"], build["image_digest"]) == (made["id"], made["image_digest"])
    with engine.client() as client:
        [container] = client.containers(filters={"label": f"platformd.deployment={made['id']}"})
        assert container["ImageID"] == build["image_digest"]


def test_a_dockerfile_that_fails_says_why(server, git_host):
    app_id = app_of(server, git_host, "broken", {"Dockerfile": f"FROM {TINY}\nCOPY missing.txt /\n"})
    build = settled(server, queue(server, app_id))
    assert (build["state"], build["reason"]["code"]) == ("failed", "BUILD_FAILED")
    assert "missing.txt" in build["reason"]["message"]


def test_cancelled_while_the_engine_builds_nothing_of_it_runs(server, git_host, engine):
    app_id = app_of(server, git_host, "endless", {"Dockerfile": f'FROM {TINY}\nRUN ["/tiny"]\n'})
    first, second = queue(server, app_id), queue(server, app_id)

    def running() -> list[Any]:
        with engine.client() as client:
            return [found for found in client.containers() if "platformd.task" not in found["Labels"]]

    assert eventually(running, 30)
    assert server.api("POST", f"/builds/{first}/cancel").json["state"] == "cancelled"
    settled(server, first)
    server.api("POST", f"/builds/{second}/cancel")
    settled(server, second)
    assert eventually(lambda: not running(), 30)
    assert build_of(server, first)["reason"]["code"] == "CANCELLED"
