"""Tasks in containers of a Docker engine, or of what speaks its language."""

from platformd.drivers.docker.driver import DockerDriver
from platformd.drivers.docker.settings import Credentials, DockerSettings

__all__ = ["Credentials", "DockerDriver", "DockerSettings"]
