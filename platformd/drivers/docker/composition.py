"""Puts the driver together for `platformd.app`: settings in, a driver out that speaks to the keeper."""

from __future__ import annotations

import contextlib
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from platformd.config import Settings
from platformd.domain.notice import Notice
from platformd.drivers.base import LaunchOrder, Sink
from platformd.drivers.docker.driver import DockerDriver
from platformd.drivers.docker.logs import Batch
from platformd.drivers.docker.settings import Credentials, DockerSettings, engine_address
from platformd.drivers.docker.spares import NextOrder
from platformd.errors import PlatformError
from platformd.ids import is_id, new_id

INSTANCE_FILE = "instance"
_SHOWN = {"done": "pulled", "failed": "failed"}


def docker_driver(
    settings: Settings,
    *,
    loop: AbstractEventLoop,
    sink: Sink,
    send: Callable[[dict[str, Any]], None],
    write_line: Callable[[str, str | None, str], None],
    credentials: Callable[[str, str], tuple[str, str] | None],
    report: Callable[[Notice], None],
    on_engine: Callable[[str | None], None],
    next_order: NextOrder,
) -> DockerDriver:
    """`send` goes to the keeper, `report` to those who follow events; `on_engine` is called on the loop with why the
    engine is away, or None; `next_order` in the driver's threads."""

    def deliver(deployment_id: str, task_id: str, batch: Batch) -> None:
        message = {"op": "log", "deployment": deployment_id, "task": task_id, "stream": batch.stream}
        send({**message, "lines": batch.lines, "cursor": batch.cursor})

    def log_over(task_id: str) -> None:
        with contextlib.suppress(
            OSError, PlatformError
        ):  # a keeper that is away closes it by itself when it is idle
            send({"op": "forget", "task": task_id})

    def tell(order: LaunchOrder, text: str | None, about: Mapping[str, object]) -> None:
        if text is not None:
            write_line(order.deployment_id, None, text)
        report(
            Notice(
                kind="image",
                type=f"image.{_SHOWN.get(str(about['state']), 'pulling')}",
                app_id=order.app_id,
                deployment_id=order.deployment_id,
                data=about,
            )
        )

    def shown(app_id: str, image: str) -> Credentials | None:
        found = credentials(app_id, image)
        return None if found is None else Credentials(username=found[0], password=found[1])

    def engine_changed(trouble: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(on_engine, trouble)

    return DockerDriver(
        loop=loop,
        sink=sink,
        settings=DockerSettings(
            data_dir=settings.data_dir,
            instance=instance(settings.data_dir),
            address=engine_address(settings.docker_host),
            volume_roots=settings.volume_root,
            credentials=shown,
        ),
        deliver=deliver,
        log_over=log_over,
        tell=tell,
        on_engine=engine_changed,
        next_order=next_order,
    )


def instance(data_dir: Path) -> str:
    """What sets this data directory's containers apart; made at the first start."""
    path = data_dir / INSTANCE_FILE
    with contextlib.suppress(OSError):
        known = path.read_text().strip()
        if is_id(known):
            return known
    made = new_id()
    path.write_text(made + "\n")
    return made
