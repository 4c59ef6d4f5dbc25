"""Creates containers, and finds again what an earlier try has created: the name follows from the task's id.

Called in the driver's workers, by its starts and by what it makes beforehand. Raises `Refused` for what is final,
PullFailed, EngineAway and EngineError.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from operator import methodcaller

from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker import containers
from platformd.drivers.docker.containers import CONFIG, TASK, Config
from platformd.drivers.docker.engine import Engine, EngineError
from platformd.drivers.docker.images import Image
from platformd.drivers.docker.settings import DockerSettings
from platformd.drivers.launch_order import Refused

_BRIDGES = ("bridge", "podman")


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """A container that is there and what it was made by: `config` is the digest of its configuration, `published`
    says that its port is reached on loopback."""

    container: str
    image: Image
    port: int | None
    published: bool
    config: str


class Creations:
    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine, self._settings = engine, settings
        self._publish: bool | None = None

    def engine_is_back(self) -> None:
        """It may be another one: what was known of its network is asked anew."""
        self._publish = None

    def create(self, order: LaunchOrder, image: Image) -> Creation:
        """The container of that task, not started by this."""
        publish = self._must_publish()
        port = containers.port_of(order, image.details)
        config = containers.config_of(order, image.reference, port, publish, self._settings)
        name = containers.name_of(order)
        container = self._create(config, name) or self._made_before(order.task_id, name, config)
        if container is None:
            raise EngineError(409, f"the engine has and has not a container named {name}")
        return Creation(
            container=container,
            image=image,
            port=port,
            published=publish and port is not None,
            config=config["Labels"][CONFIG],
        )

    def fits(self, made: Creation, order: LaunchOrder) -> bool:
        """Whether creating it anew would make the same again. Asks nobody; Refused as `create` would be."""
        if made.image.digest != order.image_digest:
            return False
        config = containers.config_of(order, made.image.reference, made.port, made.published, self._settings)
        return bool(config["Labels"][CONFIG] == made.config)

    def _create(self, config: Config, name: str) -> str | None:
        """None when the name is taken."""
        try:
            made = self._engine.call(lambda client: client.create_container_from_config(config, name))
        except EngineError as error:
            if error.conflict:
                return None
            raise
        return str(made["Id"])

    def _made_before(self, task_id: str, name: str, config: Config) -> str | None:
        """An earlier try, or the preparation of this start, has left a container of that name; None if not."""
        try:
            details = self._engine.call(lambda client: client.inspect_container(name))
        except EngineError as error:
            if error.missing:
                return self._create(config, name)
            raise
        labels = details["Config"].get("Labels") or {}
        if labels.get(TASK) != task_id:
            raise Refused("NAME_TAKEN", f"another container has the name {name}; remove or rename it")
        unborn = details["State"]["Status"] == "created"
        if unborn and labels.get(CONFIG) != config["Labels"][CONFIG]:
            self._engine.call(lambda client: client.remove_container(details["Id"], v=True, force=True))
            return self._create(config, name)
        return str(details["Id"])

    def _must_publish(self) -> bool:
        """Whether containers' own addresses cannot be reached from here."""
        if self._publish is None:
            self._publish = not any(_is_local(gateway) for gateway in self._gateways())
        return self._publish

    def _gateways(self) -> list[str]:
        found = []
        for name in _BRIDGES:
            try:
                network = self._engine.call(methodcaller("inspect_network", name))
            except EngineError:
                continue
            configs = (network.get("IPAM") or {}).get("Config") or []
            found += [config["Gateway"] for config in configs if config.get("Gateway")]
        return found


def _is_local(address: str) -> bool:
    """Whether that address is one of this machine's: then its network is reachable from here."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
