"""Git: from a repository to a tree that is checked out, and nothing of it run.

Used in jobs. Each app has a bare mirror that keeps what was fetched. Configuration comes from here alone: no file of
the system, the user or the repository is read, so there are no hooks, filters, helpers or submodules. Credentials are
in the environment or in a file of the job's own, never in arguments or output.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from platformd.builds import listing
from platformd.builds.jobs import ChildFailed, Job, OutputTooLarge, WorkRefused
from platformd.builds.places import Places, size_of
from platformd.domain.snapshot import Commit

PATH = "/usr/local/bin:/usr/bin:/bin"
LONGEST_MESSAGE = 4096
LARGEST_OUTPUT = 64 << 20  # a few trees, each in itself, list more files than there are atoms
_LONGEST_LINK = 4096
_SHA = re.compile(r"[0-9a-f]{40}\Z")
_SHORT_SHA = re.compile(r"[0-9a-f]{4,39}\Z")
_PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
_QUIET = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",  # one file for all that comes, so that its size can be bounded
    "gc.auto": "0",
    "maintenance.auto": "false",
    "core.bigFileThreshold": "16m",  # what is larger goes through in pieces
    "pack.threads": "2",
    "protocol.allow": "never",
    "credential.helper": "",
    "advice.detachedHead": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "log.mailmap": "false",
    "log.showSignature": "false",
    "safe.directory": "*",
}
_OUT_OF_MEMORY = ("out of memory", "cannot allocate memory")
# What git says when the limit on its files has ended one of its own children.
_CUT_OFF = (f"died of signal {signal.SIGXFSZ:d}", "invalid index-pack output")
_REFUSED = (
    "authentication failed",
    "could not read username",
    "permission denied",
    "returned error: 403",
    "returned error: 401",
)
_MISSING = re.compile(r"repository.* not found|does not appear to be a git repository")
# With what git closes when ssh has failed, whatever ssh said.
_SAYS_NOTHING = (
    "fatal: could not read from remote repository",
    "please make sure you have the correct access rights",
    "and the repository exists",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A repository "owner/name" below `base` (https://github.com, ssh://git@github.com), and what opens it."""

    base: str
    repository: str
    token: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)

    @property
    def scheme(self) -> str:
        return urlsplit(self.base).scheme

    @property
    def url(self) -> str:
        return f"{self.base.rstrip('/')}/{self.repository}.git"


class Git:
    """In bytes, `limit` is that of a tree, and of each file git writes; `memory` that of each of its processes."""

    def __init__(self, places: Places, limit: int, memory: int) -> None:
        self._places, self._limit, self._memory = places, limit, memory
        self._lock = threading.Lock()
        self._mirrors: dict[str, threading.Lock] = {}

    def check_out(
        self,
        job: Job,
        app_id: str,
        origin: Origin,
        *,
        branch: str | None,
        ref: str | None,
        found: Callable[[Commit], None],
    ) -> Commit:
        """Fetch `ref`, else the head of `branch`, into the job's tree. `found` is told the commit before anything is
        written, and may raise. WorkRefused says why it cannot be."""
        with self._mirror(app_id) as mirror, _credentials(self._places.work(job.build_id), origin) as env:
            env |= {"GIT_SSH_COMMAND": self._ssh(env)}
            run = _Run(job, mirror, env, self._limit, self._memory)
            try:
                sha = run.fetch(origin.url, branch=branch, ref=ref)
                commit = run.describe(sha)
                found(commit)
                self._write(run, job, sha)
            except ChildFailed as failure:
                raise _refusal(failure, origin, self._limit, self._memory) from failure
            finally:
                if size_of(mirror) > 2 * self._limit:
                    shutil.rmtree(mirror)
        return commit

    def _write(self, run: _Run, job: Job, sha: str) -> None:
        try:
            told = run.git("ls-tree", "-r", "-l", "-z", "--full-tree", sha)
            entries = listing.check(listing.parse(told), self._limit)
            links = [entry for entry in entries if entry.mode == listing.LINK]
            targets = zip(links, run.contents(links), strict=True)
            listing.check_links({entry.path: target for entry, target in targets})
        except listing.Unsafe as error:
            raise WorkRefused("SOURCE_UNSAFE", f"{error}; take it out of the repository") from None
        except listing.Excess as error:
            raise WorkRefused(
                "SOURCE_TOO_LARGE", f"{error}; make it smaller or raise --build-source-limit"
            ) from None
        for entry in entries:
            if entry.mode == listing.MODULE:
                job.say([f"submodule {listing.shown(entry.path)} is left out"])
        run.check_out(sha, self._places.tree(job.build_id))

    @contextmanager
    def _mirror(self, app_id: str) -> Iterator[Path]:
        """An app's builds fetch one after the other. What a killed git left locked is not."""
        with self._lock:
            lock = self._mirrors.setdefault(app_id, threading.Lock())
        with lock:
            mirror = self._places.mirror(app_id)
            for stale in (*mirror.rglob("*.lock"), *mirror.glob("objects/pack/tmp_*")):
                stale.unlink(missing_ok=True)
            yield mirror

    def _ssh(self, env: Mapping[str, str]) -> str:
        """A server is believed the first time, and from then on by the key it had."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityFile": _as_path(f"{env['HOME']}/key"),
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": _as_path(str(self._places.known_hosts())),
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        return shlex.join(["ssh", "-F", "/dev/null", *words])


class _Run:
    """The calls of git for one build."""

    def __init__(self, job: Job, mirror: Path, env: Mapping[str, str], limit: int, memory: int) -> None:
        self._job, self._mirror, self._env = job, mirror, env
        self._limit, self._memory = limit, memory

    def git(self, *arguments: str, input: bytes | None = None) -> bytes:
        """What git writes to its output."""
        argv = ["git", f"--git-dir={self._mirror}", *arguments]
        home = Path(self._env["HOME"])
        try:
            return self._job.run(
                argv,
                env=self._env,
                cwd=home,
                input=input,
                quiet=True,
                largest_file=self._limit,
                largest_output=LARGEST_OUTPUT,
                most_memory=self._memory,
            )
        except OutputTooLarge as excess:
            raise WorkRefused("SOURCE_TOO_LARGE", f"the repository is no tree of files: {excess}") from None

    def fetch(self, url: str, *, branch: str | None, ref: str | None) -> str:
        """The id of the commit that `ref`, or the head of `branch`, is now; it is in the mirror."""
        if not (self._mirror / "HEAD").exists():
            shutil.rmtree(self._mirror, ignore_errors=True)
            self.git("init", "-q", "--bare", "--template=", str(self._mirror))
        wanted = f"refs/heads/{branch}" if ref is None else self._resolve(url, ref)
        here = f"refs/build/{self._job.build_id}"
        if wanted is None:
            self._job.say([f"fetching all of {url} to find {ref}"])
            unshallow = ("--unshallow",) if (self._mirror / "shallow").exists() else ()
            spec = ("+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*")
            self.git("fetch", "-q", "--no-tags", "--no-write-fetch-head", *unshallow, url, *spec)
            return self._commit(str(ref))
        self._job.say([f"fetching {wanted} of {url}"])
        self.git("fetch", "-q", "--depth=1", "--no-tags", "--no-write-fetch-head", url, f"+{wanted}:{here}")
        sha = self._commit(here)
        self.git("update-ref", "-d", here)
        return sha

    def _resolve(self, url: str, ref: str) -> str | None:
        """What of the remote `ref` means; None when only a look at all of it can tell."""
        if _SHA.match(ref):
            return ref
        names = (f"refs/heads/{ref}", f"refs/tags/{ref}")
        told = self.git("ls-remote", "-q", url, *names).decode("utf-8", "replace")
        there = {line.partition("\t")[2] for line in told.splitlines()}
        for name in names:
            if name in there:
                return name
        if _SHORT_SHA.match(ref):
            return None
        raise WorkRefused("SOURCE_REF_NOT_FOUND", f"the repository has no branch, tag or commit {ref!r}")

    def _commit(self, name: str) -> str:
        try:
            told = self.git("rev-parse", "--verify", "-q", "--end-of-options", f"{name}^{{commit}}")
        except ChildFailed:
            raise WorkRefused("SOURCE_REF_NOT_FOUND", f"the repository has no commit {name!r}") from None
        return told.decode().split()[-1]

    def describe(self, sha: str) -> Commit:
        told = self.git("show", "-s", "--no-show-signature", "--format=%an <%ae>%x00%B", sha)
        author, _, message = told.decode("utf-8", "replace").partition("\0")
        return Commit(sha=sha, author=author[:LONGEST_MESSAGE], message=message.strip()[:LONGEST_MESSAGE])

    def contents(self, links: list[listing.Entry]) -> list[str]:
        """Where symbolic links lead."""
        if any(link.size > _LONGEST_LINK for link in links):
            raise listing.Unsafe("a link is longer than any path may be")
        asked = "".join(f"{link.object}\n" for link in links).encode()
        told = self.git("cat-file", "--batch", "--buffer", input=asked) if links else b""
        targets = []
        for link in links:
            _, _, told = told.partition(b"\n")
            targets.append(told[: link.size].decode("utf-8", "surrogateescape"))
            told = told[link.size + 1 :]
        return targets

    def check_out(self, sha: str, tree: Path) -> None:
        self.git("read-tree", sha)
        self.git(f"--work-tree={tree}", "checkout-index", "-a", "-q", "-f")


@contextmanager
def _credentials(folder: Path, origin: Origin) -> Iterator[dict[str, str]]:
    """The environment of git, with a home of its own in `folder` that is gone afterwards."""
    home = folder / "git"
    home.mkdir(mode=0o700)
    try:
        if origin.scheme == "ssh" and origin.ssh_key is not None:
            key = os.open(home / "key", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(key, "w", encoding="utf-8") as file:
                file.write(origin.ssh_key.strip() + "\n")
        yield _environment(home, origin)
    finally:
        shutil.rmtree(home)


def _environment(home: Path, origin: Origin) -> dict[str, str]:
    config = {**_QUIET, f"protocol.{origin.scheme}.allow": "always"}
    if origin.token is not None:
        both = base64.b64encode(f"x-access-token:{origin.token}".encode()).decode()
        config[f"http.{origin.base.rstrip('/')}/.extraHeader"] = f"Authorization: Basic {both}"
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= {
        "PATH": PATH,
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_INDEX_FILE": str(home / "index"),
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for number, (name, value) in enumerate(config.items()):
        env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = name, value
    return env


def _as_path(path: str) -> str:
    """As ssh reads it: whole in spite of spaces, and without a meaning for %."""
    return '"' + path.replace("%", "%%") + '"'


def _refusal(failure: ChildFailed, origin: Origin, limit: int, memory: int) -> WorkRefused:
    """What git says, sorted by what can be done about it."""
    said = [line for line in failure.last_lines if not line.lower().startswith(_SAYS_NOTHING)]
    low = "\n".join(said).lower()
    words = said[-1] if said else str(failure)
    if any(word in low for word in _OUT_OF_MEMORY):
        return WorkRefused(
            "SOURCE_TOO_LARGE",
            f"git needs more than {memory} bytes of memory for the repository; raise --build-memory",
        )
    if any(word in low for word in _CUT_OFF) or failure.code == -signal.SIGXFSZ:
        return WorkRefused(
            "SOURCE_TOO_LARGE", f"the repository needs more than {limit} bytes; raise --build-source-limit"
        )
    if "couldn't find remote ref" in low or "not our ref" in low:
        return WorkRefused(
            "SOURCE_REF_NOT_FOUND", f"{origin.repository} does not have what was asked for: {words}"
        )
    if "host key verification failed" in low:
        message = (
            f"{origin.url} is answered by a server with another key than the one it had; if that is right, take its "
            "line out of builds/mirrors/known_hosts in the data directory"
        )
        return WorkRefused("SOURCE_UNTRUSTED", message, failure.last_lines)
    if any(word in low for word in _REFUSED):
        message = f"{origin.url} does not let us in: {words}; check the source's access_token or ssh_key"
        return WorkRefused("SOURCE_UNAUTHORIZED", message, failure.last_lines)
    if _MISSING.search(low):
        message = f"there is no repository {origin.url}, or not for this access_token: {words}"
        return WorkRefused("SOURCE_NOT_FOUND", message, failure.last_lines)
    return WorkRefused("SOURCE_UNAVAILABLE", f"{origin.url} cannot be fetched: {words}", failure.last_lines)
