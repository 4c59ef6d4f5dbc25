"""Images that were pulled for deployments: noted in a file, so that only these are ever removed, and only when nobody
needs them any more.

Noted from the streams' thread; `drop` is called by the retention, on a thread of its own, and blocks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from platformd.drivers.docker import names
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.observability import get_logger

NOTES = "images.json"
_log = get_logger("docker")


class Pulled:
    def __init__(self, engine: Engine, data_dir: Path) -> None:
        self._engine, self._path = engine, data_dir / NOTES
        self._lock = threading.Lock()
        self._noted = _read(self._path)

    def note(self, reference: str) -> None:
        """It has just been pulled by that name."""
        details = self._inspect(reference)
        if details is not None:
            with self._lock:
                self._noted.setdefault(str(details["Id"]), set()).add(reference)
                self._write()

    def drop(self, needed: Callable[[], Collection[str]]) -> int:
        """Remove those that are none of what `needed()` names (names, and digests as deployments are pinned to): how
        many went. The engine refuses for one that a container is made of, and it stays."""
        with self._lock:
            noted = {image_id: frozenset(references) for image_id, references in self._noted.items()}
        kept = needed() if noted else ()
        return sum(self._drop(image_id, references, kept) for image_id, references in noted.items())

    def _drop(self, image_id: str, references: Collection[str], needed: Collection[str]) -> bool:
        try:
            details = self._inspect(image_id)
            if details is None:
                self._forget(image_id)
                return False
            if any(name in needed for name in _names_of(details, references)):
                return False
            for own in _own_references(details, references):
                remove_image(self._engine, own)
        except (EngineAway, EngineError) as error:
            _log.debug("an image stays", image=image_id, detail=str(error))
            return False
        self._forget(image_id)
        _log.info("an image that nobody needs was removed", image=image_id, references=sorted(references))
        return True

    def _inspect(self, reference: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._engine.call(lambda client: client.inspect_image(reference))
        except EngineError as error:
            if error.missing:
                return None
            raise
        return found

    def _forget(self, image_id: str) -> None:
        with self._lock:
            self._noted.pop(image_id, None)
            self._write()

    def _write(self) -> None:
        noted = {image_id: sorted(references) for image_id, references in self._noted.items()}
        try:
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(noted, indent=1))
            draft.replace(self._path)
        except OSError as error:  # then it stays on the engine's disk for ever, and nothing worse
            _log.warning("what was pulled cannot be noted", error=str(error))


def remove_image(engine: Engine, reference: str) -> None:
    """Take that name from an image; with its last one it goes. Never forced."""
    try:
        engine.call(lambda client: client.remove_image(reference))
    except EngineError as error:
        if not error.missing:  # its last name took the others along
            raise


def _names_of(details: Mapping[str, Any], references: Collection[str]) -> Iterator[str]:
    """Everything by which a deployment may mean it."""
    yield str(details["Id"])
    yield from references
    yield from (known.partition("@")[2] for known in details.get("RepoDigests") or ())


def _own_references(details: Mapping[str, Any], references: Collection[str]) -> list[str]:
    """Its names in the repositories it was pulled from; somebody else's keep it."""
    own = {names.split(reference)[0] for reference in references}
    known = [*(details.get("RepoTags") or ()), *(details.get("RepoDigests") or ())]
    return [name for name in known if names.split(name)[0] in own]


def _read(path: Path) -> dict[str, set[str]]:
    try:
        return {str(key): set(map(str, value)) for key, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
