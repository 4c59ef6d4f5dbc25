"""Puts the native driver together for `platformd.app`: settings in, a driver out."""

from __future__ import annotations

from asyncio import AbstractEventLoop

from platformd.config import Settings
from platformd.drivers.base import Send, Sink
from platformd.drivers.ends import SystemLine
from platformd.drivers.launch_order import NativeSettings
from platformd.drivers.native import NativeDriver


def native_driver(
    settings: Settings, *, loop: AbstractEventLoop, sink: Sink, send: Send, write_line: SystemLine
) -> NativeDriver:
    return NativeDriver(
        send=send,
        loop=loop,
        sink=sink,
        settings=NativeSettings(
            data_dir=settings.data_dir,
            task_ports=settings.task_ports,
            run_as=settings.run_as and (settings.run_as.uid, settings.run_as.gid),
            volume_roots=settings.volume_root,
        ),
        system_line=write_line,
    )
