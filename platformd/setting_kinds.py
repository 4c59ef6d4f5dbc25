"""The kinds of value a setting can have: how each is read from text or TOML and written again.

Used by `platformd.config` and, for help and documents, by whoever walks its table. A `parse` takes text (from
a flag or the environment) or a TOML value, and raises ValueError with the rest of a sentence that begins with
the value. Pure but for ACCOUNT, which asks the system's user database. Any thread.
"""

from __future__ import annotations

import ipaddress
import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.ASCII)
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class Account(NamedTuple):
    """Whom a native task runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `metavar` stands for the value in help; `many` come by repeated flags, commas or an array."""

    metavar: str
    parse: Callable[[object], object]
    many: bool = False
    switch: bool = False


def show(value: object) -> str:
    """`value` as it would be written on the command line; empty when there is none."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case range():
            return f"{value.start}-{value.stop - 1}"
        case Account():
            return f"{value.uid}:{value.gid}"
        case tuple():
            return ",".join(show(item) for item in value)
        case _:
            return str(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    text = value.strip()
    if not text:
        raise ValueError("is empty; give a value or leave it out")
    if not text.isprintable():
        raise ValueError("has control characters; remove them")
    return text


def _whole(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be a whole number")


def _number(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        number = _whole(value)
        if not low <= number <= high:
            raise ValueError(f"must be between {low} and {high}")
        return number

    return parse


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return word in _TRUE


def _directory(value: object) -> Path:
    try:
        return Path(_text(value)).expanduser()
    except RuntimeError:
        raise ValueError("names a home directory that is not known; write it out") from None


def _domain(value: object) -> str:
    name = _text(value).lower().rstrip(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError("must be a host name, such as apps.example.com, without scheme or port")
    return name


def _host(value: object) -> str:
    text = _text(value)
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if re.fullmatch(r"[0-9.]+", text) or not _NAME.fullmatch(text.lower()):
        raise ValueError(
            "must be an address or a host name, such as 127.0.0.1, :: or localhost, without a port"
        )
    return text.lower()


def _network(value: object) -> Network:
    try:
        return ipaddress.ip_network(_text(value))
    except ValueError as error:
        raise ValueError(f"must be an address or a network, such as 10.0.0.0/8 ({error})") from None


def _url(value: object) -> str:
    return _url_of(value, ("http", "https"), "https://github.example.com")


def _ssh_url(value: object) -> str:
    return _url_of(value, ("ssh",), "ssh://git@github.example.com:2222")


def _url_of(value: object, schemes: tuple[str, ...], example: str) -> str:
    text = _text(value).rstrip("/")
    parts = _split(text)
    if parts is None or parts[0] not in schemes or not parts[1] or "?" in text or "#" in text:
        raise ValueError(f"must be a URL, such as {example}")
    return text


def _origin(value: object) -> str:
    text = _text(value).lower()
    if text == "*":
        raise ValueError("would let every page in any browser drive this server; name the origins")
    parts = _split(text)
    if (
        parts is None
        or parts[0] not in ("http", "https")
        or text != f"{parts[0]}://{parts[1]}"
        or "@" in text
    ):
        raise ValueError("must be an origin, such as https://dash.example.com, without a path")
    return text


def _split(text: str) -> tuple[str, str] | None:
    """Scheme and host with port, or None when they cannot be told."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    return (parts.scheme, parts.netloc) if parts.hostname and port != 0 else None


def _engine(value: object) -> str:
    text = _text(value)
    scheme, _, rest = text.partition("://")
    if scheme not in ("unix", "tcp", "http", "https", "ssh") or not rest.strip("/"):
        raise ValueError("must be the address of an engine, such as unix:///var/run/docker.sock")
    return text


def _database(value: object) -> Path:
    text = _text(value)
    if not text.startswith("sqlite:///") or text == "sqlite:///":
        raise ValueError("must be sqlite:///PATH; for an absolute path that is sqlite:////var/lib/x.db")
    return _directory(text.removeprefix("sqlite:///"))


def _port_range(value: object) -> range:
    match = re.fullmatch(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})", _text(value))
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise ValueError("must be a range of ports, first-last, within 1 and 65535, such as 20000-29999")
    return range(first, last + 1)


def _account(value: object) -> Account:
    text = str(_whole(value)) if isinstance(value, int) else _text(value)
    if numbers := re.fullmatch(r"([0-9]{1,10})(?::([0-9]{1,10}))?", text):
        uid = int(numbers[1])
        gid = int(numbers[2]) if numbers[2] else _primary_group(uid)
        if max(uid, gid) >= 2**32 - 1:
            raise ValueError("is beyond the largest id, 4294967294")
        return Account(uid, gid)
    try:
        entry = pwd.getpwnam(text)
    except (KeyError, ValueError):
        raise ValueError("is no account of this machine; create it, or give UID or UID:GID") from None
    return Account(entry.pw_uid, entry.pw_gid)


def _primary_group(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except (KeyError, OverflowError):
        return uid


def _several(parse: Callable[[object], object]) -> Callable[[object], tuple[object, ...]]:
    def parse_all(value: object) -> tuple[object, ...]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError("must be text or a list of texts")
        return tuple(dict.fromkeys(parse(item) for item in items))

    return parse_all


def one_of(*words: str) -> Kind:
    """A word out of a few."""

    def parse(value: object) -> str:
        word = _text(value).lower()
        if word not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return word

    return Kind("|".join(words), parse)


SWITCH = Kind("", _switch, switch=True)
PORT = Kind("PORT", _number(0, 65535))
PUBLIC_PORT = Kind("PORT", _number(1, 65535))
COUNT = Kind("N", _number(0, 1000))
AT_ONCE = Kind("N", _number(1, 64))
SECONDS = Kind("SECS", _number(1, 86_400))
MEBIBYTES = Kind("MIB", _number(1, 1 << 20))
DIRECTORY = Kind("DIR", _directory)
DIRECTORIES = Kind("DIR", _several(_directory), many=True)
HOST = Kind("HOST", _host)
DOMAIN = Kind("NAME", _domain)
NETWORKS = Kind("CIDR", _several(_network), many=True)
ORIGINS = Kind("ORIGIN", _several(_origin), many=True)
URL = Kind("URL", _url)
SSH_URL = Kind("URL", _ssh_url)
ENGINE = Kind("URL", _engine)
DATABASE = Kind("URL", _database)
PORT_RANGE = Kind("FIRST-LAST", _port_range)
ACCOUNT = Kind("USER", _account)
