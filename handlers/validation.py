"""Finds every fault of a decoded body or query at once, by JSON pointer, from the Struct that describes it.

`handlers.schemas` holds the descriptions: msgspec Structs with `Meta` constraints. msgspec itself stops at the first
fault; here each type is compiled once into a check that goes on. Beyond msgspec's own constraints a
`Meta(extra={…})` may carry `says` (what a pattern means, for people) and `check` (a callable that raises ValueError
with what is wrong). Pure; any thread.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import inspect

from platformd.errors import Fault

T = TypeVar("T")
Check = Callable[[object, str, list[Fault]], object]

MAX_FAULTS = 100
BAD: Final = object()  # stands for a value with a fault; left out of what is handed on
_LONGEST_SHOWN = 80


def collect(kind: type[T], value: object) -> tuple[T | None, list[Fault]]:
    """`value` as a `kind` and all its faults; None unless there are none."""
    cleaned, faults = survey(kind, value)
    return (None if faults else msgspec.convert(cleaned, kind)), faults


def survey(kind: type, value: object) -> tuple[object, list[Fault]]:
    """What of `value` is sound, as plain dicts and lists, and its faults (at most `MAX_FAULTS`)."""
    faults: list[Fault] = []
    cleaned = compiled(cast(Hashable, kind))(value, "", faults)
    return cleaned, faults[:MAX_FAULTS]


def collect_query(kind: type[T], arguments: Mapping[str, list[bytes]]) -> tuple[T | None, list[Fault]]:
    """The same for a query string, whose values are all text: integers are read where `kind` wants them."""
    values: dict[str, object] = {}
    faults: list[Fault] = []
    integers = _integer_fields(cast(Hashable, kind))
    for name, given in arguments.items():
        if len(given) > 1:
            faults.append(Fault(_under("", name), f"is given {len(given)} times in the query; give it once"))
        try:
            text = given[-1].decode("utf-8")
        except UnicodeDecodeError:
            faults.append(Fault(_under("", name), "is not UTF-8 in the query"))
            continue
        values[name] = int(text) if name in integers and re.fullmatch(r"-?[0-9]{1,18}", text) else text
    parsed, more = collect(kind, values)
    return (None if faults else parsed), [*faults, *more]


@cache
def compiled(kind: Hashable) -> Check:
    """The check of a Struct or of any annotation msgspec understands."""
    return _check_for(inspect.type_info(kind), {})


@cache
def _integer_fields(kind: Hashable) -> frozenset[str]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return frozenset(
        field.encode_name
        for field in info.fields
        if any(isinstance(option, inspect.IntType) for option in _options(field.type))
    )


def _options(info: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(info, inspect.Metadata):
        return _options(info.type)
    if isinstance(info, inspect.UnionType):
        return tuple(option for member in info.types for option in _options(member))
    return (info,)


def _check_for(info: inspect.Type, extra: Mapping[str, Any]) -> Check:
    match info:
        case inspect.Metadata():
            inner = _check_for(info.type, info.extra or {})
            return _with_rule(inner, (info.extra or {}).get("check"))
        case inspect.StructType():
            return _struct(info)
        case inspect.DictType():
            return _mapping(info)
        case inspect.ListType():
            return _array(info)
        case inspect.UnionType():
            return _union(info, extra)
        case inspect.LiteralType() | inspect.EnumType():
            return _choice(info)
        case inspect.StrType():
            return _text(info, extra)
        case inspect.IntType() | inspect.FloatType():
            return _number(info)
        case inspect.AnyType():
            return _anything
        case _:
            return _simple(info)


def _anything(value: object, _pointer: str, _faults: list[Fault]) -> object:
    return value


def _with_rule(inner: Check, rule: Callable[[Any], object] | None) -> Check:
    if rule is None:
        return inner

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        cleaned = inner(value, pointer, faults)
        if cleaned is BAD:
            return BAD
        try:
            rule(cleaned)
        except ValueError as error:
            return _fault(faults, pointer, str(error))
        return cleaned

    return check


def _struct(info: inspect.StructType) -> Check:
    checks = {field.encode_name: _check_for(field.type, {}) for field in info.fields}
    required = tuple(field.encode_name for field in info.fields if field.required)

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        if not isinstance(value, dict):
            return _fault(faults, pointer, f"must be an object, not {_named(value)}")
        cleaned = {}
        for name, item in value.items():
            if len(faults) >= MAX_FAULTS:
                return BAD
            known = checks.get(name)
            if known is None:
                _fault(faults, _under(pointer, name), _unknown(name, checks))
                continue
            found = known(item, _under(pointer, name), faults)
            if found is not BAD:
                cleaned[name] = found
        for name in required:
            if name not in value:
                _fault(faults, _under(pointer, name), "is required")
        return cleaned if all(name in cleaned for name in required) else BAD

    return check


def _unknown(name: str, checks: Mapping[str, Check]) -> str:
    close = difflib.get_close_matches(name[:_LONGEST_SHOWN], checks, n=1)
    if close:
        return f"is no field here; did you mean {close[0]!r}?"
    return f"is no field here; known are {', '.join(checks)}" if checks else "is no field here; none is taken"


def _mapping(info: inspect.DictType) -> Check:
    key_check, value_check = _check_for(info.key_type, {}), _check_for(info.value_type, {})

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        if not isinstance(value, dict):
            return _fault(faults, pointer, f"must be an object, not {_named(value)}")
        if info.max_length is not None and len(value) > info.max_length:
            return _fault(faults, pointer, f"has {len(value)} entries, at most {info.max_length} are taken")
        cleaned = {}
        for name, item in value.items():
            place = _under(pointer, name)
            key, found = key_check(name, place, faults), value_check(item, place, faults)
            if key is not BAD and found is not BAD:
                cleaned[name] = found
        return cleaned

    return check


def _array(info: inspect.ListType) -> Check:
    item_check = _check_for(info.item_type, {})

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        if not isinstance(value, list):
            return _fault(faults, pointer, f"must be an array, not {_named(value)}")
        if info.max_length is not None and len(value) > info.max_length:
            return _fault(faults, pointer, f"has {len(value)} items, at most {info.max_length} are taken")
        if info.min_length is not None and len(value) < info.min_length:
            return _fault(faults, pointer, f"has {len(value)} items, at least {info.min_length} are needed")
        cleaned = [item_check(item, f"{pointer}/{index}", faults) for index, item in enumerate(value)]
        return BAD if any(item is BAD for item in cleaned) else cleaned

    return check


def _union(info: inspect.UnionType, extra: Mapping[str, Any]) -> Check:
    options = [(option, _check_for(option, extra)) for option in info.types]

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        for option, option_check in options:
            if _fits(option, value):
                return option_check(value, pointer, faults)
        wanted = " or ".join(_wanted(option) for option, _ in options)
        return _fault(faults, pointer, f"must be {wanted}, not {_named(value)}")

    return check


def _fits(info: inspect.Type, value: object) -> bool:
    """Whether `value` is of the JSON type `info` takes, whatever its constraints."""
    match info:
        case inspect.Metadata():
            return _fits(info.type, value)
        case inspect.UnionType():
            return any(_fits(option, value) for option in info.types)
        case inspect.AnyType():
            return True
        case _:
            return _python_type(info)(value)


def _python_type(info: inspect.Type) -> Callable[[object], bool]:
    match info:
        case inspect.NoneType():
            return lambda value: value is None
        case inspect.BoolType():
            return lambda value: isinstance(value, bool)
        case inspect.IntType():
            return lambda value: isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.ListType():
            return lambda value: isinstance(value, list)
        case inspect.StructType() | inspect.DictType():
            return lambda value: isinstance(value, dict)
        case _:
            return lambda value: isinstance(value, str)


def _wanted(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata():
            return _wanted(info.type)
        case inspect.UnionType():
            return " or ".join(_wanted(option) for option in info.types)
        case inspect.NoneType():
            return "null"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.ListType():
            return "an array"
        case inspect.StructType() | inspect.DictType():
            return "an object"
        case _:
            return "a string"


def _simple(info: inspect.Type) -> Check:
    fits, wanted = _python_type(info), _wanted(info)

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        return value if fits(value) else _fault(faults, pointer, f"must be {wanted}, not {_named(value)}")

    return check


def _choice(info: inspect.LiteralType | inspect.EnumType) -> Check:
    values = (
        info.values if isinstance(info, inspect.LiteralType) else tuple(member.value for member in info.cls)
    )
    shown = ", ".join(str(value) for value in values)

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        if isinstance(value, str | int) and not isinstance(value, bool) and value in values:
            return value
        return _fault(faults, pointer, f"must be one of {shown}, not {_named(value)}")

    return check


def _text(info: inspect.StrType, extra: Mapping[str, Any]) -> Check:
    # A schema's `$` means the very end; Python's would let a newline follow.
    pattern = re.compile(re.sub(r"\$$", r"\\Z", info.pattern)) if info.pattern else None
    says = extra.get("says") or f"text that matches {info.pattern}"
    shortest, longest = info.min_length or 0, info.max_length

    def check(value: object, pointer: str, faults: list[Fault]) -> object:
        if not isinstance(value, str):
            return _fault(faults, pointer, f"must be a string, not {_named(value)}")
        if "\0" in value:
            return _fault(faults, pointer, "must not contain a NUL character")
        if longest is not None and len(value) > longest:
            return _fault(faults, pointer, f"has {len(value)} characters, at most {longest} are taken")
        if len(value) < shortest:
            return _fault(faults, pointer, "must not be empty")
        if pattern is not None and not pattern.search(value):
            return _fault(faults, pointer, f"must be {says}, not {_named(value)}")
        return value

    return check


def _number(info: inspect.IntType | inspect.FloatType) -> Check:
    fits, wanted = _python_type(info), _wanted(info)
    low, high, above = info.ge, info.le, info.gt

    def check(value: Any, pointer: str, faults: list[Fault]) -> object:
        if not fits(value) or (isinstance(value, float) and not math.isfinite(value)):
            return _fault(faults, pointer, f"must be {wanted}, not {_named(value)}")
        if (low is not None and value < low) or (high is not None and value > high):
            return _fault(faults, pointer, f"must be {_range(low, high)}, not {_named(value)}")
        if above is not None and value <= above:
            return _fault(faults, pointer, f"must be more than {above:g}, not {_named(value)}")
        return value

    return check


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"from {low} to {high}"


def _fault(faults: list[Fault], pointer: str, message: str) -> object:
    faults.append(Fault(pointer, message))
    return BAD


def _under(pointer: str, name: object) -> str:
    return f"{pointer}/{str(name)[:_LONGEST_SHOWN].replace('~', '~0').replace('/', '~1')}"


def _named(value: object) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case dict():
            return "an object"
        case list():
            return "an array"
        case float() | int():
            return _shortened(str(value)) if abs(value) < 1e300 else "a number that large"
        case _:
            return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
