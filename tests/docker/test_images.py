"""Images that have to be pulled: from a real registry, by digest ever after; clear words when they cannot be had."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from platformd.domain.build.image import BUILD, BUILT_BY
from platformd.domain.events import ImageFound, ImageWanted, LaunchFailed, Probed, Swept
from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker import Credentials
from platformd.drivers.docker.images import failure
from platformd.ids import new_id
from tests.docker.conftest import APP, TESTS, compile_static
from tests.docker.engine import DockerEngine
from tests.docker.registry import PASSWORD, USER, login, registry, set_password
from tests.docker.rig import DockerRig
from tests.support import eventually

pytestmark = pytest.mark.needs("engine")
SHOWN: dict[str, Credentials] = {}


@pytest.fixture
def rig(engine: DockerEngine, no_leaks: None) -> Iterator[DockerRig]:
    SHOWN.clear()
    rig = DockerRig(engine, credentials=lambda app_id, _: SHOWN.get(app_id))
    yield rig
    rig.close()


def publish(engine: DockerEngine, image: str, source: str = APP, **login: object) -> None:
    """Push `source` as `image`, and leave nothing of that name here."""
    repository, _, tag = image.rpartition(":")
    with engine.client() as client:
        client.tag(source, repository, tag)
        said = list(client.push(repository, tag, stream=True, decode=True, **login))
        assert not [line for line in said if "error" in line], said
        client.remove_image(image)


def publish_a_new_one(engine: DockerEngine, image: str) -> None:
    """Of a layer that the engine does not have yet."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app"
        compile_static(TESTS / "drivers" / "apps" / "app.c", app)
        files: dict[str, Path | bytes] = {"app": app, "pad": os.urandom(1 << 20)}
        engine.make_image("platformd-test/new:1", files, 'CMD ["/app"]', "ENV ANY=1", "EXPOSE 8080")
    publish(engine, image, "platformd-test/new:1")
    with engine.client() as client:
        client.remove_image("platformd-test/new:1")


def again(order: LaunchOrder, digest: str) -> LaunchOrder:
    """Its next task."""
    return replace(order, task_id=new_id(), image_digest=digest)


def drop(rig: DockerRig, *needed: str) -> int:
    return rig.driver.drop_images(lambda: frozenset(needed))


def built(engine: DockerEngine, instance: str, base: str = APP) -> tuple[str, str, str]:
    """An image as a build of the data directory `instance` makes it: its build's id, its name, its own id."""
    build = new_id()
    name = f"platformd/shop:build-{build}"
    with engine.client() as client:
        made = client.build(
            fileobj=io.BytesIO(f"FROM {base}\n".encode()),
            tag=name,
            labels={BUILD: build, BUILT_BY: instance},
            decode=True,
        )
        assert not [line for line in made if "error" in line]
        return build, name, str(client.inspect_image(name)["Id"])


def there(engine: DockerEngine, *names: str) -> list[str]:
    with engine.client() as client:
        return [name for name in names if client.images(name=name)]


def test_a_missing_image_is_pulled_and_pinned(engine: DockerEngine, rig: DockerRig) -> None:
    with registry() as host:
        publish(engine, f"{host}/team/app:1")
        first = rig.running(image=f"{host}/team/app:1")
        assert rig.facts(first, ImageWanted)
        digest = rig.facts(first, ImageFound)[0].digest
        assert [about["state"] for _, about in rig.said] == ["started", "done"]
        rig.driver.kill(rig.task(first))
        with engine.client() as client:  # the tag moves, and what it meant is gone from here
            client.remove_container(rig.handles[first.task_id].container_id, force=True)
            client.remove_image(f"{host}/team/app:1")
        publish(engine, f"{host}/team/app:1", "platformd-test/tiny:1")
        second = again(first, digest)
        rig.driver.launch(second)
        rig.wait(second, Probed)
        assert rig.inspect(second)["Config"]["Cmd"] == ["/app"]


def test_what_was_pulled_goes_when_nobody_needs_it(engine: DockerEngine, rig: DockerRig) -> None:
    """Not while a deployment may start from it, nor while a container is made of it; nor what was here before."""
    with registry() as host:
        publish_a_new_one(engine, f"{host}/team/kept:1")
        order = rig.running(image=f"{host}/team/kept:1")
        digest = rig.facts(order, ImageFound)[0].digest
        rig.running()  # of an image that nobody pulled
        eventually((rig.data_dir / "images.json").exists)
        assert drop(rig, digest) == 0
        assert drop(rig) == 0
        rig.driver.kill(rig.task(order))
        rig.wait(order, Swept)
        assert drop(rig, f"{host}/team/kept:1") == 0
        rig.restart()
        eventually(lambda: rig.driver.engine.met)
        assert drop(rig, "another") == 1
        with engine.client() as client:
            assert client.images(name=f"{host}/team/kept") == []
            assert client.images(name=APP)
        assert drop(rig) == 0


def test_what_was_built_goes_when_nobody_needs_it(engine: DockerEngine, rig: DockerRig) -> None:
    """Not while its id, its name or its build is needed, nor a container made of it; nor what is others'."""
    eventually(lambda: rig.driver.engine.met)
    build, name, digest = built(engine, rig.instance)
    _, others, _ = built(engine, "another")
    for needed in (build, name, digest):
        assert drop(rig, needed) == 0
    order = rig.running(image=name)
    assert drop(rig) == 0
    rig.driver.kill(rig.task(order))
    rig.wait(order, Swept)
    with engine.client() as client:
        told = client.build(fileobj=io.BytesIO(f"FROM {name}\n".encode()), tag="mine:1", decode=True)
        assert not [line for line in told if "error" in line]
        assert client.inspect_image("mine:1")["Config"]["Labels"][BUILD] == build
    assert there(engine, name, others, "mine:1", APP) == [name, others, "mine:1", APP]
    assert drop(rig) == 1
    assert there(engine, name, others, "mine:1", APP) == [others, "mine:1", APP]
    assert drop(rig) == 0
    with engine.client() as client:
        client.remove_image("mine:1")
        client.remove_image(others)


def test_a_build_that_ends_while_images_are_looked_for_keeps_its_own(
    engine: DockerEngine, rig: DockerRig
) -> None:
    eventually(lambda: rig.driver.engine.met)
    built(engine, rig.instance)
    late: list[str] = []

    def needed() -> frozenset[str]:
        late.append(built(engine, rig.instance)[1])
        return frozenset()

    assert rig.driver.drop_images(needed) == 1
    assert there(engine, *late) == late
    assert drop(rig) == 1


def test_two_tasks_share_one_pull(engine: DockerEngine, rig: DockerRig) -> None:
    with registry() as host:
        publish(engine, f"{host}/team/shared:1")
        orders = [rig.order(image=f"{host}/team/shared:1") for _ in range(4)]
        for order in orders:
            rig.driver.launch(order)
        for order in orders:
            rig.wait(order, Probed)
        assert len({rig.facts(order, ImageFound)[0].digest for order in orders}) == 1


def test_a_locked_registry_wants_the_apps_credentials(
    engine: DockerEngine, rig: DockerRig, tmp_path: Path
) -> None:
    set_password(tmp_path / "htpasswd", PASSWORD)
    with registry(tmp_path / "htpasswd") as host:
        publish(engine, f"{host}/team/secret:1", **login(PASSWORD))
        refused = rig.order(image=f"{host}/team/secret:1")
        rig.driver.launch(refused)
        assert rig.wait(refused, LaunchFailed).reason.code == "REGISTRY_UNAUTHORIZED"
        SHOWN["app"] = Credentials(username=USER, password=PASSWORD)
        rig.running(image=f"{host}/team/secret:1")
        assert not [text for text, _ in rig.said if PASSWORD in text]


def test_an_image_that_is_not_there(rig: DockerRig) -> None:
    with registry() as host:
        order = rig.order(image=f"{host}/team/nothing:1")
        rig.driver.launch(order)
        reason = rig.wait(order, LaunchFailed).reason
        assert (reason.code, "check its name" in reason.message) == ("IMAGE_NOT_FOUND", True)


def test_a_registry_that_is_away_is_tried_three_times(rig: DockerRig) -> None:
    with registry() as host:
        pass
    order = rig.order(image=f"{host}/team/app:1")
    rig.driver.launch(order)
    assert rig.wait(order, LaunchFailed, timeout=30).reason.code == "REGISTRY_UNREACHABLE"
    assert [about["state"] for _, about in rig.said] == ["started", "retrying", "retrying", "failed"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "NO_SPACE"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            "REGISTRY_UNAUTHORIZED",
        ),
        ("manifest for x:1 not found: manifest unknown", "IMAGE_NOT_FOUND"),
        ("Get https://x/v2/: dial tcp: lookup x: no such host", "REGISTRY_UNREACHABLE"),
    ],
)
def test_what_the_engine_says_is_told_apart(message: str, code: str) -> None:
    assert failure("x:1", message).reason.code == code
