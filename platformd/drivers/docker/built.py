"""Images that builds have made: found by their labels, removed when nobody needs them any more.

`drop` is called by the retention, on a thread of its own, and blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from platformd.domain.build import image as naming
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.drivers.docker.pulled import remove_image
from platformd.observability import get_logger

_log = get_logger("docker")


class Built:
    """Of the data directory `instance`; others may use the same engine."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine, self._instance = engine, instance

    def drop(self, needed: Callable[[], Collection[str]]) -> int:
        """Remove those that are none of what `needed()` names (digests, names, ids of builds): how many went. It is
        asked once they were looked for, so that a build that ends meanwhile keeps its own."""
        wanted = {"label": f"{naming.BUILT_BY}={self._instance}"}
        try:
            found = self._engine.call(lambda client: client.images(filters=wanted))
        except (EngineAway, EngineError):
            return 0
        kept = needed() if found else ()
        return sum(self._drop(details, kept) for details in found)

    def _drop(self, details: Mapping[str, Any], needed: Collection[str]) -> bool:
        """Its own name goes, and with its last name the image."""
        labels: Mapping[str, str] = details["Labels"]
        own = naming.own_names(labels, details.get("RepoTags") or ())
        if not own or any(name in needed for name in (details["Id"], labels[naming.BUILD], *own)):
            return False
        try:
            for name in own:
                remove_image(self._engine, name)
        except (EngineAway, EngineError) as error:
            _log.debug("an image stays", image=details["Id"], detail=str(error))
            return False
        _log.info("an image that nobody needs was removed", image=details["Id"], references=own)
        return True
