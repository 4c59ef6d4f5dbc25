"""Where builds keep what they need, below `builds` in the data directory. Any thread; the disk blocks.

`mirrors/<app>.git` is a cache of what was fetched, `cache/<app>` the home of its build commands, `uploads` are trees
that were sent, `trees/<build>` exists while a build does. The account of build commands reaches its own tree and its
app's cache, and nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from platformd.artifacts import SentTrees


class Places:
    """`owner` is (uid, gid) of build commands; None when that is the server's own account. `wanted()` are the digests
    of the uploads that builds still need."""

    def __init__(
        self, data_dir: Path, owner: tuple[int, int] | None, wanted: Callable[[], Collection[str]]
    ) -> None:
        self._root = data_dir / "builds"
        self._owner = owner
        for name, mode in {"": 0o711, "mirrors": 0o700, "cache": 0o711, "trees": 0o711}.items():
            folder = self._root / name
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
        self.uploads = SentTrees(self._root / "uploads", wanted)

    def mirror(self, app_id: str) -> Path:
        return self._root / "mirrors" / f"{app_id}.git"

    def known_hosts(self) -> Path:
        return self._root / "mirrors" / "known_hosts"

    def cache(self, app_id: str) -> Path:
        """Made when it is missing."""
        folder = self._root / "cache" / app_id
        folder.mkdir(mode=0o700, exist_ok=True)
        self._give(folder)
        return folder

    def work(self, build_id: str) -> Path:
        """What a build has for itself; its tree is in there."""
        return self._root / "trees" / build_id

    def tree(self, build_id: str) -> Path:
        return self.work(build_id) / "tree"

    def begin(self, build_id: str) -> Path:
        """An empty tree, nothing else in its folder."""
        self.remove(build_id)
        self.work(build_id).mkdir(mode=0o711)
        tree = self.tree(build_id)
        tree.mkdir(mode=0o700)
        return tree

    def hand_over(self, build_id: str) -> None:
        """The tree is the build command's from now on."""
        if self._owner is None:
            return
        for where, folders, names in os.walk(self.tree(build_id)):
            for name in ("", *folders, *names):
                self._give(Path(where, name))

    def remove(self, build_id: str) -> None:
        if self.work(build_id).exists():
            shutil.rmtree(self.work(build_id))

    def remove_others(self, known: Collection[str]) -> None:
        """The folders of builds that are over."""
        for folder in (self._root / "trees").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def remove_app(self, app_id: str) -> None:
        """What is kept between the builds of an app."""
        for folder in (self.mirror(app_id), self._root / "cache" / app_id):
            shutil.rmtree(folder, ignore_errors=True)

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, *self._owner, follow_symlinks=False)


def size_of(folder: Path) -> int:
    """Bytes of the files below `folder`."""
    return sum(Path(where, name).lstat().st_size for where, _, names in os.walk(folder) for name in names)
