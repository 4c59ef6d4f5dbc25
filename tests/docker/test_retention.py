"""A month later: the images of builds that nobody needs are gone from a real engine, the others are there to run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from platformd.drivers.docker import DockerDriver, DockerSettings
from platformd.drivers.docker.composition import instance
from platformd.drivers.docker.containers import DEPLOYMENT
from tests.docker.conftest import TINY
from tests.docker.engine import DockerEngine
from tests.docker.test_images import there
from tests.drivers.rig import Loop
from tests.e2e.building import make_app, set_source, settled
from tests.e2e.conftest import open_folder
from tests.e2e.hooks import SECRET, deployed, push
from tests.e2e.platform import Platform
from tests.e2e.test_retention import pass_time
from tests.git_host import GitHost
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")


@pytest.fixture
def server(engine: DockerEngine, tmp_path: Path) -> Iterator[tuple[Platform, GitHost]]:
    """Keeps one version beside the current one."""
    root = open_folder()
    with GitHost(tmp_path).serving() as host:
        flags = {"github-url": host.url, "docker-host": engine.address, "keep-versions": "1"}
        running = Platform(root / "data", *(f"--{name}={value}" for name, value in flags.items()))
        try:
            yield running.start(), host
        finally:
            running.destroy()
            engine.remove_containers()
            shutil.rmtree(root, ignore_errors=True)


@contextmanager
def driver(engine: DockerEngine, data_dir: Path) -> Iterator[DockerDriver]:
    """Of a server that is down."""
    loop = Loop()
    settings = DockerSettings(data_dir=data_dir, instance=instance(data_dir), address=engine.address)
    made = loop.call(
        lambda: DockerDriver(
            loop=loop.loop,
            sink=lambda *_: None,
            settings=settings,
            deliver=lambda *_: None,
            tell=lambda *_: None,
        )
    )
    try:
        eventually(lambda: made.engine.met)
        yield made
    finally:
        loop.call(made.close)
        loop.stop()


def containers(engine: DockerEngine, deployment_id: str) -> list[Any]:
    with engine.client() as client:
        return list(client.containers(all=True, filters={"label": f"{DEPLOYMENT}={deployment_id}"}))


def test_a_month_later(server: tuple[Platform, GitHost], engine: DockerEngine) -> None:
    platform, host = server
    repository = host.repository("octo/shop")
    app_id = make_app(platform, "shop")
    recipe = {"kind": "dockerfile"}
    set_source(platform, app_id, repository=repository.name, build=recipe, webhook_secret=SECRET)
    versions = []
    for word in ("one", "two", "three"):
        sha = repository.commit({"Dockerfile": f"FROM {TINY}\nENV SAYS={word}\n"})
        made = deployed(platform, app_id, push(platform, repository, sha)["delivery"])
        versions.append(platform.wait(made["id"], lambda d: d["current"]))
    images = [made["spec"]["image"] for made in versions]
    for _ in ("named by a default", "named by nobody"):
        build_id = platform.api("POST", "/builds", {"app_id": app_id}).json["id"]
        images.append(settled(platform, build_id)["image"])
    default = {"default_deployment_spec": {"process_type": "docker", "image": images[3]}}
    answer = platform.api("PUT", f"/apps/{make_app(platform, 'other')}", default)
    assert answer.status == 200, answer.text
    eventually(lambda: not containers(engine, versions[0]["id"]), 40)
    platform.terminate()

    with driver(engine, platform.data_dir) as docker:
        assert "images" not in pass_time(platform.data_dir, 29, docker)
        assert there(engine, *images) == images
        assert pass_time(platform.data_dir, 31, docker)["images"] == 2
    assert there(engine, *images) == images[1:4]

    engine.remove_containers()
    platform.start()
    address = "shop-default-development.localhost"
    assert eventually(lambda: platform.get(address).text == "three\n", 30)
    back = platform.api("POST", f"/apps/{app_id}/rollback", {"environment": "development"})
    assert back.status == 201, back.text
    assert eventually(lambda: platform.get(address).text == "two\n", 30)
