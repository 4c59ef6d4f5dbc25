"""From a repository or an uploaded tree to an artifact or an image: git, the engine, folders."""

from platformd.builds.places import Places
from platformd.builds.workshop import Workshop, WorkshopSettings

__all__ = ["Places", "Workshop", "WorkshopSettings"]
