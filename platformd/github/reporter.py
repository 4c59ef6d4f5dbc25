"""Tells GitHub what becomes of a commit: beside it, as its status, in whichever app has a token for that.

What is to be said is read from the rows whenever something happened to a build or a deployment, and compared with what
was said; so a restart, or hours without GitHub, lose nothing that still matters. One thread of its own does all of it,
one request after the other: whoever makes things happen never waits. `heard` may be called on any thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial

from platformd import clock
from platformd.domain.build.state import Build
from platformd.domain.commit_status import KeepSaid, Said, Saying, to_say
from platformd.domain.naming import Addresses
from platformd.domain.notice import Event, Notice
from platformd.domain.snapshot import App
from platformd.domain.source import sealed_for
from platformd.errors import PlatformError
from platformd.github.client import CommitStatus, GitHubClient, Later, Refused
from platformd.observability import get_logger
from platformd.secrets import Vault
from platformd.store import Store, building
from platformd.store.commit_statuses import (
    Subject,
    attempts_of,
    said_of,
    subjects_of_build,
    subjects_of_deployment,
    subjects_since,
)

GIVES_UP_AFTER = timedelta(hours=24)
FIRST_WAIT_SECS = 1.0
LONGEST_WAIT_SECS = 300.0
ENDS_SECS = 1.0
_NEWS = frozenset({"deployment.ready", "deployment.asleep", "deployment.done"})
_log = get_logger("github")
Find = Callable[[], Iterable[Subject]]


class Reporter:
    """`start` it once the store is open, `close` it before the store. `first_wait` is the pause after a first failure,
    doubled with each further one."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        client: GitHubClient,
        addresses: Addresses,
        *,
        first_wait: float = FIRST_WAIT_SECS,
    ) -> None:
        self._store = store
        self._vault = vault
        self._client = client
        self._addresses = addresses
        self._first_wait = first_wait
        self._news: queue.SimpleQueue[Find | None] = queue.SimpleQueue()
        self._due: dict[Subject, float] = {}
        self._failures: dict[Subject, int] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="github", daemon=True)

    def start(self) -> None:
        """Begins with what an earlier process left unsaid."""
        since = clock.now() - GIVES_UP_AFTER
        self._news.put(partial(subjects_since, self._store.reader, since))
        self._thread.start()

    def heard(self, events: Sequence[Event]) -> None:
        """After each commit."""
        for event in events:
            notice, reader = event.notice, self._store.reader
            if notice.kind == "build" and notice.build_id is not None:
                self._news.put(partial(subjects_of_build, reader, notice.build_id))
            elif notice.type in _NEWS and notice.deployment_id is not None:
                self._news.put(partial(subjects_of_deployment, reader, notice.deployment_id))

    def close(self) -> None:
        """Ends the thread after the request it is in, waiting no longer than `ENDS_SECS`."""
        self._closing = True
        self._news.put(None)
        self._thread.join(ENDS_SECS)

    def _run(self) -> None:
        while not self._closing:
            self._listen()
            now = clock.monotonic()
            for subject in [subject for subject, due in self._due.items() if due <= now]:
                if self._closing:
                    return
                self._due.pop(subject)
                self._attend(subject)

    def _listen(self) -> None:
        """Until something is due; what was heard is due at once, unless GitHub asked for patience."""
        wait = max(0.0, min(self._due.values()) - clock.monotonic()) if self._due else None
        try:
            find = self._news.get(timeout=wait)
            while find is not None and not self._closing:
                for subject in find():
                    self._due.setdefault(subject, clock.monotonic())
                find = self._news.get_nowait()
        except queue.Empty:
            pass
        except Exception:  # a row that cannot be read must not end the thread
            _log.exception("what is to be told to GitHub could not be read")

    def _attend(self, subject: Subject) -> None:
        try:
            self._tell(subject)
        except Exception:
            _log.exception("a commit status failed", app_id=subject.app_id, commit=subject.commit_sha)

    def _tell(self, subject: Subject) -> None:
        reader = self._store.reader
        app, source = reader.get(App, subject.app_id), building.source_of(reader, subject.app_id)
        attempts = attempts_of(reader, subject)
        saying = to_say(subject.commit_sha, attempts, said_of(reader, subject))
        if saying is None or app is None or source is None or source.access_token is None:
            self._failures.pop(subject, None)
            return
        build = next(build for build, _ in attempts if build.id == saying.build_id)
        try:
            token = self._vault.unseal(source.access_token, context=sealed_for(app.id, "access_token"))
            self._client.set_status(
                build.repository, subject.commit_sha, token, self._status(app, build, saying)
            )
        except Later as error:
            self._try_again(subject, build, saying, error)
        except (Refused, PlatformError) as error:
            self._settle(subject, saying, str(error))
        else:
            self._settle(subject, saying, None)

    def _status(self, app: App, build: Build, saying: Saying) -> CommitStatus:
        name = app.name if app.namespace == "default" else f"{app.namespace}/{app.name}"
        host = saying.preview_host
        return CommitStatus(
            state=saying.state,
            description=saying.description,
            context=f"platformd/{name}/{build.environment}",
            target_url=None if host is None else self._addresses.url(host),
        )

    def _try_again(self, subject: Subject, build: Build, saying: Saying, error: Later) -> None:
        if clock.now() - build.updated_at > GIVES_UP_AFTER:
            self._settle(subject, saying, f"given up: {error}")
            return
        failures = self._failures[subject] = self._failures.get(subject, 0) + 1
        wait = min(self._first_wait * 2 ** min(failures - 1, 32), LONGEST_WAIT_SECS)
        self._due[subject] = clock.monotonic() + max(wait, error.after or 0.0)
        if failures == 1:
            _log.warning("GitHub was not told yet", app_id=subject.app_id, detail=str(error))

    def _settle(self, subject: Subject, saying: Saying, refusal: str | None) -> None:
        self._failures.pop(subject, None)
        said = Said(
            build_id=saying.build_id,
            state=saying.state,
            settled=saying.settled or refusal is not None,
            refusal=refusal,
        )
        if refusal is not None:
            _log.warning(
                "GitHub is not told", app_id=subject.app_id, commit=subject.commit_sha, detail=refusal
            )
        kept = KeepSaid(**subject._asdict(), said=said, at=clock.now())
        self._store.commit(kept, lambda _: (_notice(subject, said),)).result()


def _notice(subject: Subject, said: Said) -> Notice:
    return Notice(
        kind="webhook",
        type="webhook.status_set" if said.refusal is None else "webhook.status_refused",
        app_id=subject.app_id,
        build_id=said.build_id,
        data={
            "environment": subject.environment,
            "commit": subject.commit_sha,
            "state": said.state.value,
            "refusal": said.refusal,
        },
    )
