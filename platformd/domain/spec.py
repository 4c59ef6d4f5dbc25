"""What a deployment is asked to be: the specification, its defaults, and what contradicts itself in it.

Pure. Built by `handlers.schemas` from a validated body, kept whole in a deployment's snapshot, read by the
state machines and the drivers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from platformd.errors import Fault

DEFAULT_CPU = "100m"
DEFAULT_MEMORY = "128Mi"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"

_CPU = re.compile(r"^(?:(?P<millis>\d{1,9})m|(?P<cores>\d{1,6}(?:\.\d{1,9})?))$")
_MEMORY = re.compile(r"^(?P<number>\d{1,18}(?:\.\d{1,6})?)(?P<unit>[KMGT]i?|[kmgt])?B?$")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 1024**power for power, letter in enumerate("KMGT", start=1)
}
_SMALLEST_MEMORY = 1 << 20
_LARGEST_MEMORY = 1 << 50
_LARGEST_CPU_MILLIS = 1_000_000


class ProcessType(StrEnum):
    """`tish` is a native executable (ELF or `#!`), `docker` an image."""

    TISH = "tish"
    DOCKER = "docker"


class Protocol(StrEnum):
    """`http`: listens on PORT; `http+fd`: inherits its listener as fd 3; `none`: a worker or job without a port."""

    HTTP = "http"
    HTTP_FD = "http+fd"
    NONE = "none"


class RestartPolicyKind(StrEnum):
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class CpuPolicy(StrEnum):
    CAP = "cap"
    SHARE = "share"


class SleepMode(StrEnum):
    STOP = "stop"
    FREEZE = "freeze"
    AUTO = "auto"


def parse_cpu(text: str) -> int:
    """Millicores of "100m", "0.5" or "2"; ValueError says what is wrong."""
    match = _CPU.match(text)
    if match is None:
        raise ValueError(f'{text!r} is no CPU quantity; write "100m", "0.5" or 2')
    millis = int(match["millis"]) if match["millis"] else round(float(match["cores"]) * 1000)
    if not 1 <= millis <= _LARGEST_CPU_MILLIS:
        raise ValueError(f"{text!r} is outside 1m to {_LARGEST_CPU_MILLIS // 1000} cores")
    return millis


def parse_memory(text: str) -> int:
    """Bytes of "128Mi", "1G" or "1048576"; ValueError says what is wrong."""
    match = _MEMORY.match(text)
    if match is None:
        raise ValueError(f'{text!r} is no memory quantity; write "128Mi", "1G" or a number of bytes')
    unit = match["unit"] or ""
    size = int(float(match["number"]) * _UNITS[unit if unit.endswith("i") else unit.upper()])
    if not _SMALLEST_MEMORY <= size <= _LARGEST_MEMORY:
        raise ValueError(f"{text!r} is outside 1Mi to 1024Ti")
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Quantities as written; `cpu_policy` decides between a hard cap and a weight under contention."""

    cpu: str = DEFAULT_CPU
    memory: str = DEFAULT_MEMORY
    cpu_policy: CpuPolicy = CpuPolicy.SHARE

    @property
    def cpu_millis(self) -> int:
        return parse_cpu(self.cpu)

    @property
    def memory_bytes(self) -> int:
        return parse_memory(self.memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Networking:
    """`port` None lets the platform choose. Health seconds apply when `health_path` is set."""

    port: int | None = None
    protocol: Protocol = Protocol.HTTP
    health_path: str | None = None
    health_interval_secs: float = 10.0
    health_timeout_secs: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    host_path: str
    container_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """At most `max_attempts` restarts within `window_secs`."""

    policy: RestartPolicyKind = RestartPolicyKind.ON_FAILURE
    max_attempts: int = 5
    window_secs: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WakePolicy:
    """`concurrency` 0 is no limit; `replicas` None wakes all."""

    timeout_secs: float = 60.0
    queue_limit: int = 1024
    concurrency: int = 0
    replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """So many tasks that each has about `target_concurrency` requests at once. `min` 0 is 1 while awake."""

    min: int = 1
    max: int
    target_concurrency: float

    def within(self, count: int) -> int:
        """The nearest number of tasks that is allowed."""
        return max(1, self.min, min(count, self.max))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAwake:
    """Busy without requests: any task uses more than so much of a core, or a GET of that path answers 2xx."""

    cpu_percent: float | None = None
    busy_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWake:
    """Requests that wake nothing: those whose path begins so and whose User-Agent contains that, in any case; what is
    None is not looked at."""

    path: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPolicy:
    signal: str = "SIGTERM"
    grace_secs: float = 10.0
    exclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """One version's specification; defaults are the contract's."""

    process_type: ProcessType = ProcessType.TISH
    artifact_id: str | None = None
    image: str | None = None
    replicas: int = 1
    resources: Resources = field(default_factory=Resources)
    networking: Networking = field(default_factory=Networking)
    env: Mapping[str, str] = field(default_factory=dict)
    cold_start_enabled: bool = True
    idle_timeout_secs: float = 300.0
    max_runtime_secs: float | None = None
    volumes: tuple[Volume, ...] = ()
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] = ()
    user: str | None = None
    restart: Restart = field(default_factory=Restart)
    wake: WakePolicy = field(default_factory=WakePolicy)
    sleep_mode: SleepMode = SleepMode.STOP
    stop: StopPolicy = field(default_factory=StopPolicy)
    no_wake: tuple[NoWake, ...] = ()
    keep_awake: KeepAwake | None = None
    autoscale: Autoscale | None = None
    progress_deadline_secs: float = 600.0

    @property
    def serves(self) -> bool:
        """True when the gateway can send it requests."""
        return self.networking.protocol is not Protocol.NONE

    @property
    def awake_replicas(self) -> int:
        """How many tasks it has when it wakes: with autoscale to begin with."""
        return max(1, self.replicas) if self.autoscale is None else self.autoscale.within(self.replicas)

    @property
    def sleeps(self) -> bool:
        """True when it may be put to sleep and woken by traffic."""
        return self.cold_start_enabled and self.serves

    @property
    def old_goes_first(self) -> bool:
        """True when a replacement may only start after its predecessor ended."""
        fixed_native_port = self.process_type is ProcessType.TISH and self.networking.port is not None
        return self.stop.exclusive or fixed_native_port


def promoted(spec: DeploymentSpec, *, elsewhere: bool) -> DeploymentSpec:
    """What a promotion of `spec` runs: the same, but a fixed native port stays with its own environment."""
    if elsewhere and spec.process_type is ProcessType.TISH and spec.networking.port is not None:
        return replace(spec, networking=replace(spec.networking, port=None))
    return spec


def contradictions(spec: DeploymentSpec) -> list[Fault]:
    """Everything in `spec` that is well-typed but cannot be."""
    faults = []
    if spec.process_type is ProcessType.DOCKER and spec.artifact_id is not None:
        faults.append(Fault("/artifact_id", "a docker deployment takes an image, not an artifact"))
    if spec.process_type is ProcessType.TISH and spec.image is not None:
        faults.append(Fault("/image", "a tish deployment takes an artifact_id, not an image"))
    if spec.process_type is ProcessType.TISH and spec.user is not None:
        faults.append(Fault("/user", "native tasks run as the account of --run-as; leave it out"))
    if spec.process_type is ProcessType.DOCKER and spec.networking.protocol is Protocol.HTTP_FD:
        faults.append(Fault("/networking/protocol", 'a container cannot inherit a socket; use "http"'))
    if spec.process_type is ProcessType.TISH and spec.networking.port is not None and spec.replicas > 1:
        faults.append(
            Fault(
                "/networking/port",
                f"{spec.replicas} native replicas cannot all listen on port {spec.networking.port}; "
                "leave port null or set replicas to 1",
            )
        )
    if spec.networking.protocol is Protocol.NONE and spec.networking.port is not None:
        faults.append(Fault("/networking/port", 'protocol "none" has no port; leave port null'))
    if spec.networking.protocol is Protocol.NONE and spec.networking.health_path is not None:
        faults.append(Fault("/networking/health_path", 'protocol "none" cannot be probed; leave it out'))
    faults += _of_autoscale(spec)
    if spec.keep_awake == KeepAwake():
        faults.append(Fault("/keep_awake", "says neither cpu_percent nor busy_path; leave it out"))
    faults.extend(
        Fault(f"/no_wake/{index}", "says neither path nor user_agent, so that nothing could wake the app")
        for index, rule in enumerate(spec.no_wake)
        if rule.path is None and rule.user_agent is None
    )
    if spec.process_type is ProcessType.TISH:
        faults.extend(
            Fault(
                f"/volumes/{index}/container_path",
                f"a native task sees the host's paths: {volume.container_path!r} must equal host_path "
                f"{volume.host_path!r}",
            )
            for index, volume in enumerate(spec.volumes)
            if volume.container_path != volume.host_path
        )
    return faults


def _of_autoscale(spec: DeploymentSpec) -> Iterator[Fault]:
    rule = spec.autoscale
    if rule is None:
        return
    if rule.min > rule.max:
        yield Fault("/autoscale/min", f"{rule.min} is more than max, which is {rule.max}")
    if spec.replicas > rule.max:
        yield Fault("/replicas", f"{spec.replicas} is more than autoscale.max, which is {rule.max}")
    if not spec.serves:
        yield Fault("/autoscale", 'protocol "none" serves no requests to go by; leave it out')
    if spec.process_type is ProcessType.TISH and spec.networking.port is not None and rule.max > 1:
        yield Fault(
            "/autoscale/max",
            f"native tasks cannot all listen on port {spec.networking.port}; leave port null or autoscale out",
        )
