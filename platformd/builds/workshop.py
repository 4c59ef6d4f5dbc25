"""Where builds are worked on: a bounded pool of threads, and one job at a time for each build.

Called by build actors on pool threads: every order returns at once, and what came of it goes to `tell` as a fact, from
a thread of the workshop. An order that was ended says nothing but `Swept`, once nothing of it runs.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import structlog

from platformd import clock
from platformd.artifacts import ArtifactFiles
from platformd.builds import product
from platformd.builds.git import PATH, Git, Origin
from platformd.builds.jobs import ChildFailed, Job, WorkEnded, WorkRefused, end_orphans
from platformd.builds.places import Places
from platformd.builds.unpacking import unpack
from platformd.domain import events
from platformd.domain.build import image
from platformd.domain.build import messages as m
from platformd.domain.build.state import Build
from platformd.domain.build.state import Origin as AskedBy
from platformd.domain.operations import AddArtifact
from platformd.domain.snapshot import Commit, Reason
from platformd.domain.source import sealed_for
from platformd.errors import PlatformError
from platformd.secrets import Vault
from platformd.store import Store, building

LARGEST_ARTIFACT = 1 << 30
_log = structlog.get_logger("builds")

Tell = Callable[[str, object], None]
"""Takes (build id, fact)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkshopSettings:
    """`source_limit` and `memory` are in bytes, `at_once` is how many builds there may be; `engine` the address of
    Docker's, where `instance` tells the images of this data directory from those of others."""

    github_url: str
    github_ssh_url: str
    source_limit: int
    memory: int
    at_once: int
    engine: str
    instance: str


class Workshop:
    """`say` takes (build id, lines) for the build's log."""

    def __init__(
        self,
        *,
        settings: WorkshopSettings,
        places: Places,
        store: Store,
        artifacts: ArtifactFiles,
        vault: Vault,
        say: Callable[[str, Sequence[str]], None],
        tell: Tell,
    ) -> None:
        self.settings, self.places = settings, places
        self._store, self._artifacts, self._vault = store, artifacts, vault
        self._say, self._tell = say, tell
        self._git = Git(places, settings.source_limit, settings.memory)
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        # One thread for each build, and two for what follows its end.
        self._pool = ThreadPoolExecutor(settings.at_once + 2, thread_name_prefix="builds")

    # ---- orders --------------------------------------------------------------------------------------------

    def fetch(self, build: Build) -> None:
        """Fetched, FoundBuilt or WorkFailed."""
        self._begin(build.id, lambda job: self._fetch(job, build))

    def make_image(self, build: Build) -> None:
        """ImageMade or WorkFailed."""
        self._begin(build.id, lambda job: self._make_image(job, build))

    def collect(self, build: Build) -> None:
        """Stored or WorkFailed."""
        self._begin(build.id, lambda job: self._collect(job, build))

    def end(self, build_id: str) -> None:
        """Swept, once neither a job nor a child of it is left."""
        with self._lock:
            job = self._jobs.get(build_id)
        if job is not None:
            job.end()
        else:
            self._submit(lambda: self._end_orphans(build_id))

    def clean_up(self, build_id: str) -> None:
        """Remove what a build had for itself; nothing of it runs any more."""
        self._submit(lambda: self.places.remove(build_id))

    def tidy(self) -> None:
        """Remove the trees that were sent for builds of which nothing is to run any more."""
        self._submit(self.places.uploads.tidy)

    def remove_others(self, known: Sequence[str]) -> None:
        """At the start: the folders of builds that are over, and the trees that were sent for them."""
        self._submit(lambda: self.places.remove_others(known))
        self.tidy()

    def close(self) -> None:
        """End everything that runs here; the next start begins it again."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.end()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # ---- jobs ----------------------------------------------------------------------------------------------

    def _begin(self, build_id: str, work: Callable[[Job], object]) -> None:
        job = Job(build_id, lambda lines: self._say(build_id, lines))
        with self._lock:
            self._jobs[build_id] = job
        self._submit(lambda: self._do(job, work))

    def _do(self, job: Job, work: Callable[[Job], object]) -> None:
        fact: object
        try:
            job.check()
            fact = work(job)
        except WorkEnded:
            fact = None
        except WorkRefused as refused:
            fact = m.WorkFailed(refused.reason)
        except (PlatformError, ChildFailed, OSError) as error:
            code = error.code if isinstance(error, PlatformError) else "BUILD_WORK_FAILED"
            fact = m.WorkFailed(Reason(code=code, message=str(error)))
        except Exception as error:
            _log.exception("a build's work failed in an unforeseen way", build_id=job.build_id)
            fact = m.WorkFailed(Reason(code="BUILD_WORK_FAILED", message=repr(error)))
        with self._lock:
            del self._jobs[job.build_id]
        self._tell(job.build_id, events.Swept() if job.ended or fact is None else fact)

    def _submit(self, work: Callable[[], object]) -> None:
        try:
            self._pool.submit(_fenced, work)
        except RuntimeError:  # the service is stopping
            return

    def _end_orphans(self, build_id: str) -> None:
        end_orphans(build_id)
        self._tell(build_id, events.Swept())

    # ---- what they do --------------------------------------------------------------------------------------

    def _fetch(self, job: Job, build: Build) -> object:
        tree = self.places.begin(build.id)
        commit = None
        if build.upload is not None:
            job.say([f"the tree that was sent, sha256 {build.upload}"])
            unpack(job, self.places.uploads.path(build.upload), tree, self.settings.source_limit)
        else:
            try:
                commit = self._check_out(job, build)
            except _Built as built:
                return m.FoundBuilt(built.by, built.commit)
        root = tree / (build.recipe.root_dir or "")
        if not root.is_dir() or not root.resolve().is_relative_to(tree.resolve()):
            raise WorkRefused(
                "SOURCE_INVALID", f"there is no folder {build.recipe.root_dir!r}; check root_dir"
            )
        self.places.hand_over(build.id)
        return m.Fetched(commit)

    def _check_out(self, job: Job, build: Build) -> Commit:
        def found(commit: Commit) -> None:
            subject = commit.message.partition("\n")[0]
            job.say([f"commit {commit.sha} by {commit.author}: {subject}"])
            if build.origin is AskedBy.WEBHOOK:
                other = building.built_already(self._store.reader, build, commit.sha)
                if other is not None:
                    raise _Built(other.id, commit)

        return self._git.check_out(
            job, build.app_id, self._origin(build), branch=build.branch, ref=build.ref, found=found
        )

    def _origin(self, build: Build) -> Origin:
        """The credentials the source has now: they may have been changed since the build was asked for."""
        source = building.source_of(self._store.reader, build.app_id)

        def opened(name: str) -> str | None:
            sealed = None if source is None else getattr(source, name)
            return (
                None if sealed is None else self._vault.unseal(sealed, context=sealed_for(build.app_id, name))
            )

        token, ssh_key = opened("access_token"), opened("ssh_key")
        by_ssh = ssh_key is not None and token is None
        return Origin(
            base=self.settings.github_ssh_url if by_ssh else self.settings.github_url,
            repository=build.repository,
            token=token,
            ssh_key=ssh_key,
        )

    def _make_image(self, job: Job, build: Build) -> object:
        tag = image.name(build)
        order = {
            "engine": self.settings.engine,
            "path": str(self.places.tree(build.id) / (build.recipe.root_dir or "")),
            "dockerfile": build.recipe.dockerfile or "Dockerfile",
            "tag": tag,
            "labels": image.labels(build, self.settings.instance),
            "memory": self.settings.memory,
        }
        env = {"PATH": PATH, "HOME": str(self.places.work(build.id)), "LC_ALL": "C.UTF-8"}
        argv = [sys.executable, "-I", "-m", "platformd.builds.imaging"]
        try:
            told = job.run(
                argv, env=env, cwd=self.places.work(build.id), input=json.dumps(order).encode(), quiet=True
            )
        except ChildFailed as failure:
            last = failure.last_lines[-1] if failure.last_lines else str(failure)
            raise WorkRefused("BUILD_FAILED", f"the Dockerfile failed: {last}", failure.last_lines) from None
        return m.ImageMade(tag, told.decode().strip())

    def _collect(self, job: Job, build: Build) -> object:
        recipe = build.recipe
        path = recipe.artifact_path or ""
        sha256, size = product.store(
            job, self.places.tree(build.id), recipe.root_dir, path, self._artifacts, LARGEST_ARTIFACT
        )
        job.say([f"{path} has {size} bytes, sha256 {sha256}"])
        artifact = AddArtifact(
            name=PurePosixPath(path).name, app_id=build.app_id, sha256=sha256, size=size, at=clock.now()
        )
        return m.Stored(self._store.commit(artifact).result().id)


class _Built(Exception):
    def __init__(self, by: str, commit: Commit) -> None:
        super().__init__(by)
        self.by, self.commit = by, commit


def _fenced(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        _log.exception("a build's work failed")
