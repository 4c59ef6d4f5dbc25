"""From a decoded body to the domain's specification, or every fault at once. Called by `handlers.deployments`; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET

from handlers import quantities, schemas
from handlers.inheriting import inherited
from handlers.schemas_changes import SpecChange
from handlers.schemas_configuration import AppChange
from handlers.schemas_traffic import AutoscaleBody, KeepAwakeBody, NoWakeBody
from handlers.validation import survey
from handlers.volumes import VolumeRule
from handlers.words import cpu_text
from platformd.domain import commands
from platformd.domain.deployment.changes import changed
from platformd.domain.spec import (
    Autoscale,
    CpuPolicy,
    DeploymentSpec,
    KeepAwake,
    Networking,
    NoWake,
    ProcessType,
    Protocol,
    Resources,
    Restart,
    RestartPolicyKind,
    SleepMode,
    StopPolicy,
    Volume,
    WakePolicy,
    contradictions,
)
from platformd.errors import Fault, Invalid

DEFAULT_ENVIRONMENT = "development"
# Contradictions are looked for among these; with a fault in one of them they would be found in a default.
_JUDGED_TOGETHER = (
    "/process_type",
    "/artifact_id",
    "/image",
    "/replicas",
    "/networking",
    "/volumes",
    "/no_wake",
    "/autoscale",
    "/keep_awake",
    "/user",
)


def new_deployment(
    value: object, rule: VolumeRule, default: Mapping[str, object] = MappingProxyType({})
) -> tuple[str, DeploymentSpec]:
    """(environment, specification) of the body of a create; where it is silent `default`, the app's, speaks. Raises
    Invalid with all faults."""
    cleaned, faults = survey(schemas.NewDeployment, value)
    if not isinstance(cleaned, dict):
        raise invalid(faults)
    body = msgspec.convert(inherited(default, cleaned), schemas.NewDeployment)
    spec, more = _judged(body, rule, faults)
    faults += more
    if faults:
        raise invalid(faults)
    return body.environment if body.environment is not UNSET else DEFAULT_ENVIRONMENT, spec


def app_change(value: object, rule: VolumeRule) -> dict[str, object]:
    """The fields of an app that the body of a change states. Raises Invalid with all faults."""
    cleaned, faults = survey(AppChange, value)
    if not isinstance(cleaned, dict):
        raise invalid(faults)
    default = cleaned.get("default_deployment_spec", {})
    within = "/default_deployment_spec"
    found = [Fault(fault.pointer.removeprefix(within), fault.message) for fault in faults]
    _, more = _judged(msgspec.convert(default, schemas.SpecBody), rule, found)
    faults += [Fault(within + fault.pointer, fault.message) for fault in more]
    if faults:
        raise invalid(faults)
    return cleaned


def _judged(
    body: schemas.SpecBody, rule: VolumeRule, faults: Sequence[Fault]
) -> tuple[DeploymentSpec, list[Fault]]:
    """The specification of what is sound in a body, and what is wrong beyond `faults`."""
    more = _volume_faults(body, rule) + _health_faults(body)
    spec = specification(body)
    if not any(fault.pointer.startswith(_JUDGED_TOGETHER) for fault in (*faults, *more)):
        more += contradictions(spec)
    return spec, more


def invalid(faults: Sequence[Fault]) -> Invalid:
    """The error that lists `faults`."""
    first = f"{faults[0].pointer or 'the body'} {faults[0].message}"
    return Invalid(first if len(faults) == 1 else f"{first}; and {len(faults) - 1} more", faults=faults)


def change(body: SpecChange, spec: DeploymentSpec, rule: VolumeRule) -> commands.Change:
    """The order that `body` means for a deployment that has `spec`. Raises Invalid with all faults."""
    if all(getattr(body, name) is UNSET for name in body.__struct_fields__):
        raise invalid(
            [Fault("/spec", f"names none of {', '.join(body.__struct_fields__)}: nothing to change")]
        )
    wanted = commands.Change(
        **_said(
            replicas=body.replicas,
            resources=_mapped(body.resources, _resources_change),
            image=body.image,
            process_type=_mapped(body.process_type, ProcessType),
            volumes=_mapped(body.volumes, _volumes),
        )
    )
    faults = [replace(fault, pointer=f"/spec{fault.pointer}") for fault in _volume_faults(body, rule)]
    try:
        changed(spec, wanted)
    except Invalid as contradictory:
        raise invalid([*faults, *contradictory.faults]) from None
    if faults:
        raise invalid(faults)
    return wanted


def specification(body: schemas.SpecBody) -> DeploymentSpec:
    """The domain's form of a valid body; where it is silent the domain's defaults hold."""
    return DeploymentSpec(
        **_said(
            process_type=_mapped(body.process_type, ProcessType),
            artifact_id=_mapped(body.artifact_id, str.lower),
            image=body.image,
            replicas=body.replicas,
            resources=_mapped(body.resources, _resources),
            networking=_mapped(body.networking, _networking),
            env=body.env,
            cold_start_enabled=body.cold_start_enabled,
            idle_timeout_secs=body.idle_timeout_secs,
            max_runtime_secs=body.max_runtime_secs,
            volumes=_mapped(body.volumes, _volumes),
            command=_mapped(body.command, tuple),
            args=_mapped(body.args, tuple),
            user=body.user,
            restart=_mapped(body.restart, _restart),
            wake=_mapped(body.wake, _wake),
            sleep_mode=_mapped(body.sleep, _sleep_mode),
            stop=_mapped(body.stop, _stop),
            no_wake=_mapped(body.no_wake, _no_wake),
            autoscale=_mapped(body.autoscale, _autoscale),
            keep_awake=_mapped(body.keep_awake, _keep_awake),
            progress_deadline_secs=body.progress_deadline_secs,
        )
    )


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not UNSET}


def _mapped(value: Any, convert: Any) -> Any:
    return value if value is UNSET or value is None else convert(value)


def _resources(body: schemas.ResourcesBody) -> Resources:
    # A CPU that somebody states is a cap; the default only weighs under contention.
    stated = UNSET if body.cpu is UNSET else CpuPolicy.CAP
    policy = stated if body.cpu_policy is UNSET else CpuPolicy(body.cpu_policy)
    return Resources(
        **_said(cpu=_mapped(body.cpu, cpu_text), memory=_mapped(body.memory, str), cpu_policy=policy)
    )


def _resources_change(body: schemas.ResourcesBody) -> commands.ResourcesChange:
    stated = _resources(body)
    said_policy = body.cpu is not UNSET or body.cpu_policy is not UNSET
    return commands.ResourcesChange(
        cpu=None if body.cpu is UNSET else stated.cpu,
        memory=None if body.memory is UNSET else stated.memory,
        cpu_policy=stated.cpu_policy if said_policy else None,
    )


def _networking(body: schemas.NetworkingBody) -> Networking:
    health = body.health_check or schemas.HealthCheckBody()
    path = health.path if body.health_path in (UNSET, None) else body.health_path
    return Networking(
        **_said(
            port=body.port,
            protocol=_mapped(body.protocol, Protocol),
            health_path=path,
            health_interval_secs=_mapped(health.interval, quantities.seconds),
            health_timeout_secs=_mapped(health.timeout, quantities.seconds),
        )
    )


def _volumes(body: list[schemas.VolumeBody]) -> tuple[Volume, ...]:
    return tuple(Volume(host_path=item.host_path, container_path=item.container_path) for item in body)


def _restart(body: schemas.RestartBody) -> Restart:
    return Restart(
        **_said(
            policy=_mapped(body.policy, RestartPolicyKind),
            max_attempts=body.max_attempts,
            window_secs=body.window_secs,
        )
    )


def _wake(body: schemas.WakeBody) -> WakePolicy:
    return WakePolicy(
        **_said(
            timeout_secs=body.timeout_secs,
            queue_limit=body.queue_limit,
            concurrency=body.concurrency,
            replicas=body.replicas,
        )
    )


def _sleep_mode(body: schemas.SleepBody) -> SleepMode:
    return SleepMode.STOP if body.mode is UNSET else SleepMode(body.mode)


def _stop(body: schemas.StopBody) -> StopPolicy:
    return StopPolicy(**_said(signal=body.signal, grace_secs=body.grace_secs, exclusive=body.exclusive))


def _autoscale(body: AutoscaleBody) -> Autoscale:
    return Autoscale(**_said(min=body.min, max=body.max, target_concurrency=body.target_concurrency))


def _keep_awake(body: KeepAwakeBody) -> KeepAwake:
    return KeepAwake(**_said(cpu_percent=body.cpu_percent, busy_path=body.busy_path))


def _no_wake(body: list[NoWakeBody]) -> tuple[NoWake, ...]:
    return tuple(NoWake(**_said(path=rule.path, user_agent=rule.user_agent)) for rule in body)


def _volume_faults(body: schemas.SpecBody | SpecChange, rule: VolumeRule) -> list[Fault]:
    volumes = [] if body.volumes is UNSET else body.volumes
    refusals = ((index, rule.refusal(volume.host_path)) for index, volume in enumerate(volumes))
    return [Fault(f"/volumes/{index}/host_path", refusal) for index, refusal in refusals if refusal]


def _health_faults(body: schemas.SpecBody) -> list[Fault]:
    if body.networking is UNSET or not body.networking.health_check:
        return []
    short, long = body.networking.health_path, body.networking.health_check.path
    if UNSET in (short, long) or short is None or short == long:
        return []
    return [
        Fault(
            "/networking/health_path", f"is short for health_check.path, yet they differ: {short!r}, {long!r}"
        )
    ]
