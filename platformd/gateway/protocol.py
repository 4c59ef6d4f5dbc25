"""What serve and the gateway say to each other: JSON lines over a unix stream socket, told apart by `op`.

Used by `platformd.gateway.control` and `platformd.links.gateway`. Pure; any thread. Instants are CLOCK_BOOTTIME
in nanoseconds, durations are seconds.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field, json

VERSION = 1
# Bounds of the histogram of how long requests were held, in seconds.
WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Message(Struct, tag_field="op", tag=str.lower):
    """Base of every message; unknown fields are ignored so that either side may be newer."""


class Refusal(Struct, frozen=True, omit_defaults=True):
    """What to answer when a deployment has no task and may not be woken."""

    status: int = 503
    code: str = "ASLEEP"
    detail: str = "No task is ready, and nothing is started for this request."
    retry_after: int | None = None


class HostRefusal(Struct, frozen=True, omit_defaults=True):
    """A known host that leads nowhere at present; `names` are hosts that would."""

    status: int
    code: str = "NO_DEPLOYMENT"
    detail: str = "No deployment serves this address."
    names: tuple[str, ...] = ()


class NoWake(Struct, frozen=True, omit_defaults=True):
    """Requests that wake nothing: all that is said must hold. `user_agent` is part of one, in lower case."""

    path: str = ""
    user_agent: str = ""


class Config(Struct, frozen=True, omit_defaults=True):
    """How requests for one deployment are treated. Equal ones are shared by all deployments."""

    wakeable: bool = True
    refusal: Refusal | None = None
    wake_timeout: float = 60.0
    queue_limit: int = 1024
    concurrency: int = 0
    no_wake: tuple[NoWake, ...] = ()
    autoscaled: bool = False


class TargetSpec(Struct, frozen=True):
    """One task that may receive requests."""

    task: str
    address: tuple[str, int]
    slow_start: bool = False


# serve → gateway


class Reset(Message):
    epoch: int


class Synced(Message):
    pass


class Routes(Message):
    hosts: dict[str, str | HostRefusal | None] = field(default_factory=dict)
    deployments: dict[str, Config | None] = field(default_factory=dict)


class Targets(Message):
    deployment: str
    tasks: tuple[TargetSpec, ...]


class WakeFailed(Message, tag="wake_failed"):
    deployment: str
    status: int
    code: str
    detail: str
    retry_after: int | None = None
    phase: str | None = None
    exit_code: int | None = None
    signal: str | int | None = None
    last_lines: list[str] | None = None


class WakePhase(Message, tag="wake_phase"):
    deployment: str
    phase: str


class Close(Message):
    deployment: str
    tasks: list[str]
    mode: Literal["idle", "drain", "rest"]
    since: int | None = None
    timeout: float = 30.0


class Armed(Message):
    """The task that a wake of this deployment starts is known: the gateway may have the keeper start it. `plain`: it
    may receive requests as soon as it listens on `port`. Without a port it is armed no more."""

    deployment: str
    task: str
    port: int | None = None
    plain: bool = False


class Errors(Message):
    full: bool


class Bye(Message):
    pass


FromServe = Reset | Synced | Routes | Targets | WakeFailed | WakePhase | Close | Armed | Errors | Bye


# gateway → serve


class Hello(Message):
    pid: int
    epoch: int
    v: int = VERSION
    activity: dict[str, int | None] = field(default_factory=dict)
    targets: dict[str, list[str]] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)


class Wake(Message):
    """`waited`: seconds that it has been under way already, for one that was fired."""

    deployment: str
    held: int
    waited: float = 0.0


class Closed(Message):
    deployment: str
    tasks: list[str]
    mode: str


class Busy(Message):
    deployment: str
    tasks: list[str]


class Quiet(Message):
    deployment: str
    since: int


class DeploymentLoad(Struct, omit_defaults=True):
    """`requests` since the last report, by class of status; `demand` of an autoscaled one in use: requests at once
    on average, over 3 s and over 30 s."""

    inflight: int
    held: int
    requests: dict[str, int]
    demand: tuple[float, float] | None = None


class Load(Message):
    """`waits`: of the requests released since the last report, how many were held up to each bound of `WAITS` and how
    many longer; `waited` is the sum in seconds."""

    deployments: dict[str, DeploymentLoad]
    total_inflight: int
    total_held: int
    waits: list[int] = field(default_factory=list)
    waited: float = 0.0


_encoder = json.Encoder()
_from_serve: json.Decoder[FromServe] = json.Decoder(FromServe)
_any: json.Decoder[dict[str, Any]] = json.Decoder(dict[str, Any])


def encode(message: Message | dict[str, Any]) -> bytes:
    """One message as one line."""
    return _encoder.encode(message) + b"\n"


def decode_order(line: bytes) -> FromServe:
    """A line from serve, checked; raises msgspec.DecodeError naming the fault."""
    return _from_serve.decode(line)


def decode_report(line: bytes) -> dict[str, Any]:
    """A line from the gateway as a plain dict."""
    return _any.decode(line)


class Lines:
    """Cuts a byte stream into lines; keeps the unfinished one."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`, without their newlines."""
        if b"\n" not in data:
            self._parts.append(data)
            return []
        *lines, rest = b"".join((*self._parts, data)).split(b"\n")
        self._parts = [rest] if rest else []
        return [line for line in lines if line]
