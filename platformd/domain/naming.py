"""Names in the DNS sense: the labels of apps, environments and previews, a deployment's sha, the URLs shown.

Pure. Called by the store (which alone knows what is taken) and by the views.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

LONGEST_LABEL = 63
_DIGEST_DIGITS = 6
_SHA_DIGITS = 8
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]")
_COMMIT = re.compile(r"[0-9a-fA-F]{8,64}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Addresses:
    """How hostnames become URLs: `port` None leaves it out, as does the scheme's own port."""

    scheme: str = "http"
    domain: str = "localhost"
    port: int | None = None

    def host(self, label: str) -> str:
        return f"{label}.{self.domain}"

    def url(self, host: str) -> str:
        if self.port is None or self.port == _DEFAULT_PORTS.get(self.scheme):
            return f"{self.scheme}://{host}"
        return f"{self.scheme}://{host}:{self.port}"


def subdomain(name: str, namespace: str) -> str:
    """An app's label; two apps with the same one cannot both be."""
    return _cleaned(f"{name}-{namespace}")[:LONGEST_LABEL].rstrip("-")


def environment_label(subdomain: str, slug: str) -> str:
    """The label of an environment other than production (which has the app's own)."""
    return _fitted(subdomain, f"-{slug}")


def preview_label(name: str, sha: str, environment: str, version: int | None = None, nth: int = 1) -> str:
    """The label of one deployment; `version` and then `nth` set it apart where the plain one is taken."""
    apart = "" if version is None else f"-v{version}"
    if nth > 1:
        apart += f"-{nth}"
    return _fitted(_cleaned(name), f"-{sha}{apart}-{environment}")


def preview_labels(name: str, sha: str, environment: str, version: int) -> Iterator[str]:
    """What a deployment's label may be, best first, without end: the first that is free is taken."""
    yield preview_label(name, sha, environment)
    for nth in count(1):
        yield preview_label(name, sha, environment, version, nth)


def deployment_sha(app_id: str, version: int, spec: bytes, commit: str | None = None) -> str:
    """8 hex digits: the commit's first, else of a digest over app, version and the encoded specification,
    which names the artifact or image."""
    if commit is not None and _COMMIT.fullmatch(commit):
        return commit[:_SHA_DIGITS].lower()
    return hashlib.sha256(b"\0".join((app_id.encode(), b"%d" % version, spec))).hexdigest()[:_SHA_DIGITS]


def _cleaned(text: str) -> str:
    return _NOT_ALPHANUMERIC.sub("-", text.lower())


def _fitted(name: str, rest: str) -> str:
    """`name` + `rest` as one label; only the name is shortened, and then it ends in digits of its digest."""
    room = LONGEST_LABEL - len(rest)
    if len(name) <= room:
        return name + rest
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_DIGITS]
    return name[: max(0, room - _DIGEST_DIGITS - 1)].rstrip("-") + "-" + digest + rest
