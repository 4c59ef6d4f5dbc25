"""Which file an artifact's bytes are in. Called by actors before each launch; any thread."""

from __future__ import annotations

from pathlib import Path

from platformd.artifacts.files import ArtifactFiles
from platformd.store import Store


class Executables:
    """Looked up once each, since the bytes of an artifact never change."""

    def __init__(self, store: Store, files: ArtifactFiles) -> None:
        self._store = store
        self._files = files
        self._known: dict[str, Path] = {}

    def __call__(self, artifact_id: str) -> Path | None:
        """The file of a complete artifact, None for any other."""
        known = self._known.get(artifact_id)
        if known is None:
            artifact = self._store.artifact(artifact_id)
            if artifact is None or artifact.sha256 is None:
                return None
            known = self._known[artifact_id] = self._files.path(artifact.sha256)
        return known
