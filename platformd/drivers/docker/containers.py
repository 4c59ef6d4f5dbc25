"""What a task's container is made of: its name, its labels, its configuration, the port it listens on.

Pure but for the look at volumes' folders. Used by the driver's starts; `Refused` is final.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from platformd.domain.spec import CpuPolicy, Protocol
from platformd.drivers import cgroup
from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker.settings import DockerSettings
from platformd.drivers.launch_order import check_volume

TASK, DEPLOYMENT, APP = "platformd.task", "platformd.deployment", "platformd.app"
INSTANCE, CONFIG, ENVIRONMENT = "platformd.instance", "platformd.config", "platformd.environment"
SLOT = "platformd.slot"
DEFAULT_PORT = 8080
_ANYWHERE = "0.0.0.0"
_LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "10"}}

Config = dict[str, Any]


def name_of(order: LaunchOrder) -> str:
    """As an operator sees it, and the same whenever it is made for the same task."""
    return f"{order.app_name}-{order.environment}-{order.slot}-{order.task_id[-12:]}"


def port_of(order: LaunchOrder, image: Mapping[str, Any]) -> int | None:
    """The port given, else the only one the image exposes, else 8080."""
    networking = order.spec.networking
    if networking.protocol is Protocol.NONE:
        return None
    if networking.port is not None:
        return networking.port
    exposed = (image.get("Config") or {}).get("ExposedPorts") or {}
    ports = [int(number) for number, _, kind in (key.partition("/") for key in exposed) if kind == "tcp"]
    return ports[0] if len(ports) == 1 else DEFAULT_PORT


def config_of(
    order: LaunchOrder, image: str, port: int | None, publish: bool, settings: DockerSettings
) -> Config:
    """The engine's description of the container; `publish` makes the port reachable on loopback."""
    spec = order.spec
    for volume in spec.volumes:
        check_volume(volume.host_path, settings.data_dir, settings.volume_roots)
    config: Config = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in environment(order, port).items()],
        "HostConfig": _host_config(order, port, publish),
    }
    if spec.command:
        config["Entrypoint"], config["Cmd"] = list(spec.command), list(spec.args)
    elif spec.args:
        config["Cmd"] = list(spec.args)
    if spec.user is not None:
        config["User"] = spec.user
    if publish and port is not None:
        config["ExposedPorts"] = {f"{port}/tcp": {}}
    config["Labels"] = _labels(order, settings, config)
    return config


def environment(order: LaunchOrder, port: int | None) -> dict[str, str]:
    """What platformd adds to the image's own variables. The app's win, except where it must be found and reached."""
    env = {"HOST": _ANYWHERE, "APP_NAME": order.app_name, "ENVIRONMENT": order.environment}
    env.update(order.env)
    env["DEPLOYMENT_ID"], env["TASK_ID"] = order.deployment_id, order.task_id
    if port is not None:
        env["PORT"] = str(port)
    return env


def _host_config(order: LaunchOrder, port: int | None, publish: bool) -> Config:
    spec = order.spec
    resources = spec.resources
    host: Config = {
        "Memory": resources.memory_bytes,
        "MemorySwap": resources.memory_bytes,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": _LOG,
        "Binds": [f"{volume.host_path}:{volume.container_path}" for volume in spec.volumes],
    }
    if resources.cpu_policy is CpuPolicy.CAP:
        host["NanoCpus"] = resources.cpu_millis * 1_000_000
    else:
        host["CpuShares"] = cgroup.shares(resources.cpu_millis)
    if publish and port is not None:
        host["PortBindings"] = {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    return host


def _labels(order: LaunchOrder, settings: DockerSettings, config: Config) -> dict[str, str]:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return {
        TASK: order.task_id,
        DEPLOYMENT: order.deployment_id,
        APP: order.app_name,
        ENVIRONMENT: order.environment,
        SLOT: str(order.slot),
        INSTANCE: settings.instance,
        CONFIG: digest[:16],
    }
