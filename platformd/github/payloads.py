"""Reads GitHub's webhook deliveries: the few fields that matter of the shapes that its documents give.

Pure; called by the webhook handler on a thread, because a payload may have 25 MB. A repository's name is read before
anybody knows who sent the payload, everything else only once its signature was found right.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta, Struct

from platformd.domain import webhook
from platformd.domain.webhook import Delivery
from platformd.errors import Fault, Invalid, Malformed

T = TypeVar("T")

NONE_SHA = frozenset({"0" * 40, "0" * 64})
FORM_FIELD = "payload"

Sha = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")]
Ref = Annotated[str, Meta(min_length=1, max_length=1024)]


class _Repository(Struct):
    full_name: Annotated[str, Meta(max_length=256)]


class _Addressed(Struct):
    """Every payload that is about a repository."""

    repository: _Repository | None = None


class _Push(Struct):
    ref: Ref
    after: Sha
    deleted: bool = False


class _Branch(Struct):
    ref: Ref
    sha: Sha
    repo: _Repository | None = None


class _PullRequest(Struct):
    state: str
    updated_at: Annotated[datetime, Meta(tz=True)]
    head: _Branch
    base: _Branch


class _PullRequestEvent(Struct):
    action: Annotated[str, Meta(max_length=64)]
    number: Annotated[int, Meta(ge=1, lt=1 << 53)]
    pull_request: _PullRequest


def unwrapped(body: bytes, is_form: bool) -> bytes:
    """The JSON of a delivery: the body itself or, of a form, its field `payload`. Malformed without one."""
    if not is_form:
        return body
    try:
        found = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=16)
    except ValueError as error:  # UnicodeDecodeError is one
        raise Malformed(f"the form cannot be read: {error}", code="MALFORMED") from None
    if len(found.get(FORM_FIELD, [])) != 1:
        raise Malformed(
            f"the form has no field {FORM_FIELD!r}, or several; GitHub sends one", code="MALFORMED"
        )
    return found[FORM_FIELD][0].encode("utf-8", "surrogatepass")


def repository_of(payload: bytes) -> str | None:
    """ "owner/name" that a payload is about; None where it says none. Malformed for what is no JSON."""
    try:
        addressed = msgspec.json.decode(payload, type=_Addressed)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed(error) from None
    return None if addressed.repository is None else addressed.repository.full_name


def read_delivery(guid: str, event: str, payload: bytes) -> Delivery:
    """What happened; Invalid where the payload of an event that matters lacks what its documents promise."""
    match event:
        case "push":
            return Delivery(guid=guid, event=event, action=None, happening=_push(_shaped(payload, _Push)))
        case "pull_request":
            told = _shaped(payload, _PullRequestEvent)
            return Delivery(guid=guid, event=event, action=told.action, happening=_pull_request(told))
        case "ping":
            return Delivery(guid=guid, event=event, action=None, happening=webhook.Ping())
        case _:
            return Delivery(
                guid=guid, event=event, action=_action(payload), happening=webhook.Other(name=event)
            )


def _push(told: _Push) -> webhook.Push:
    gone = told.deleted or told.after in NONE_SHA
    return webhook.Push(ref=told.ref, sha=None if gone else told.after)


def _pull_request(told: _PullRequestEvent) -> webhook.PullRequest:
    head, base = told.pull_request.head, told.pull_request.base
    return webhook.PullRequest(
        action=told.action,
        number=told.number,
        ref=head.ref,
        sha=head.sha,
        fork=not _same(head.repo, base.repo),
        open=told.pull_request.state == "open",
        at=told.pull_request.updated_at,
    )


def _same(one: _Repository | None, other: _Repository | None) -> bool:
    """A fork that was deleted has no repository any more: that is another one too."""
    return one is not None and other is not None and one.full_name.lower() == other.full_name.lower()


def _action(payload: bytes) -> str | None:
    told: object = msgspec.json.decode(payload)
    action = told.get("action") if isinstance(told, Mapping) else None
    return action[:64] if isinstance(action, str) else None


def _shaped(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise Invalid(
            f"the payload is not as GitHub documents it: {error}",
            faults=[Fault(where.rstrip("`").replace(".", "/"), message)],
        ) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> Malformed:
    return Malformed(f"the payload cannot be read as JSON: {error}", code="MALFORMED_JSON")
