"""Reads a JSON body that may be hostile: refuses what parsers disagree about. Called by `handlers.base`; pure.

Refused as malformed (400): bytes that are not UTF-8, a byte order mark, syntax errors, NaN and infinities, numbers
too long to hold, duplicate names in one object, half a surrogate pair, nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from platformd.errors import Malformed

MAX_DEPTH = 32

_STRUCTURE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def decode(body: bytes) -> object:
    """The value `body` stands for; Malformed says what is wrong with it."""
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise Malformed(f"the JSON is nested deeper than {MAX_DEPTH} levels", code="MALFORMED_JSON")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"byte {error.start} is not UTF-8")
    try:
        value: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        _refuse(f"line {error.lineno}, column {error.colno}: {error.msg}")
    except ValueError as error:  # an integer beyond the interpreter's limit of digits
        _refuse(str(error))
    except RecursionError:
        _refuse("nested too deeply")
    if b"\\u" in body:
        _refuse_half_surrogates(value)
    return value


def _refuse(what: str) -> NoReturn:
    raise Malformed(f"the body cannot be read as JSON: {what}", code="MALFORMED_JSON") from None


def _depth(body: bytes) -> int:
    deepest = depth = 0
    for match in _STRUCTURE.finditer(body):
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            _refuse(f"the name {name[:80]!r} is there twice in one object")
        seen.add(name)
    return found


def _no_constant(name: str) -> NoReturn:
    _refuse(f"{name} is no JSON number")


def _refuse_half_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        _refuse("a string has half a surrogate pair")
