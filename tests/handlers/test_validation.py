"""Bodies: every fault at once, by pointer, and never an exception, whatever comes."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import schemas
from handlers.quantities import instant, seconds
from handlers.schemas_builds import BuildsQuery
from handlers.specs import new_deployment
from handlers.validation import MAX_FAULTS, collect, collect_query, survey
from handlers.volumes import VolumeRule
from platformd import clock
from platformd.domain.spec import CpuPolicy, DeploymentSpec, NoWake, Protocol
from platformd.errors import Invalid, PlatformError
from platformd.views import SORTS, spec_object

RULE = VolumeRule.of(PurePosixPath("/var/lib/platformd"), (PurePosixPath("/srv/volumes"),))
ARTIFACT = "3f0e0c3e-0000-4000-8000-00000000abcd"


def faults_of(body: object) -> dict[str, str]:
    """Pointer → message of what is wrong with `body`; empty when nothing is."""
    try:
        new_deployment(body, RULE)
    except Invalid as error:
        return {fault.pointer: fault.message for fault in error.faults}
    return {}


def spec_of(**body: Any) -> DeploymentSpec:
    return new_deployment(body, RULE)[1]


def test_a_silent_body_means_the_defaults() -> None:
    assert new_deployment({}, RULE) == ("development", DeploymentSpec())


def test_every_fault_comes_at_once() -> None:
    body = {
        "replicas": 101,
        "repicas": 1,
        "env": {"1A": "x", "B": 3, "C": "\0", "GOOD": "yes"},
        "networking": {"port": 0, "bogus": 1, "health_check": {"interval": "10x", "path": "no slash"}},
        "volumes": [
            {"host_path": "/etc"},
            3,
            {"host_path": "/data/x", "container_path": "/data/x", "mode": 1},
        ],
        "resources": {"cpu": "1x", "memory": 1.5},
        "idle_timeout_secs": 0.5,
        "stop": {"signal": "SIGFOO", "grace_secs": -1},
        "restart": {"policy": "sometimes"},
        "environment": "Prod!",
        "artifact_id": "not-a-uuid",
    }
    assert faults_of(body).keys() == {
        "/replicas",
        "/repicas",
        "/env/1A",
        "/env/B",
        "/env/C",
        "/networking/port",
        "/networking/bogus",
        "/networking/health_check/interval",
        "/networking/health_check/path",
        "/volumes/0/container_path",
        "/volumes/1",
        "/volumes/2/mode",
        "/resources/cpu",
        "/resources/memory",
        "/idle_timeout_secs",
        "/stop/signal",
        "/stop/grace_secs",
        "/restart/policy",
        "/environment",
        "/artifact_id",
    }


def test_contradictions_and_folders_come_with_the_other_faults() -> None:
    body = {
        "image": "nginx",
        "bogus": 1,
        "replicas": 2,
        "networking": {"port": 8080},
        "volumes": [{"host_path": "/data/x", "container_path": "/y"}],
        "stop": {"grace_secs": "long"},
    }
    assert faults_of(body).keys() == {
        "/bogus",
        "/image",
        "/networking/port",
        "/volumes/0/container_path",
        "/stop/grace_secs",
    }


def test_a_contradiction_is_not_made_up_from_a_faulty_field() -> None:
    assert faults_of({"process_type": "dokcer", "image": "nginx"}).keys() == {"/process_type"}


def test_a_fault_in_a_required_field_takes_its_object_along() -> None:
    body = {"volumes": [{"host_path": "/data", "container_path": ""}], "replicas": 2}
    cleaned, faults = survey(schemas.NewDeployment, body)
    assert [fault.pointer for fault in faults] == ["/volumes/0/container_path"]
    assert cleaned == {"replicas": 2}


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({}, "/no_wake/0"),
        ({"path": "health"}, "/no_wake/0/path"),
        ({"user_agent": ""}, "/no_wake/0/user_agent"),
        ({"user_agent": "ü"}, "/no_wake/0/user_agent"),
        ({"method": "GET"}, "/no_wake/0/method"),
    ],
)
def test_a_rule_of_no_wake_names_a_path_or_a_user_agent(rule: dict[str, Any], pointer: str) -> None:
    assert faults_of({"no_wake": [rule]}).keys() == {pointer}


def test_traffic_rules_are_taken() -> None:
    body = {"wake": {"concurrency": 4}, "no_wake": [{"path": "/up"}, {"user_agent": "Bot"}]}
    _, spec = new_deployment(body, RULE)
    assert spec.wake.concurrency == 4
    assert spec.no_wake == (NoWake(path="/up"), NoWake(user_agent="Bot"))


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({}, "/keep_awake"),
        ({"cpu_percent": 0}, "/keep_awake/cpu_percent"),
        ({"busy_path": "busy"}, "/keep_awake/busy_path"),
        ({"memory": 1}, "/keep_awake/memory"),
    ],
)
def test_a_rule_of_keep_awake_names_what_is_busy(rule: dict[str, Any], pointer: str) -> None:
    assert faults_of({"keep_awake": rule}).keys() == {pointer}


def test_what_is_for_the_other_kind_is_refused() -> None:
    assert faults_of({"process_type": "docker", "artifact_id": ARTIFACT}).keys() == {"/artifact_id"}
    inherited = {"process_type": "docker", "image": "nginx", "networking": {"protocol": "http+fd"}}
    assert faults_of(inherited).keys() == {"/networking/protocol"}
    assert faults_of({"user": "app"}).keys() == {"/user"}


@pytest.mark.parametrize("cpu", ["100m", "0.5", 2, 0.25, "2"])
def test_a_stated_cpu_is_a_cap(cpu: object) -> None:
    resources = spec_of(resources={"cpu": cpu}).resources
    assert resources.cpu_policy is CpuPolicy.CAP
    assert resources.cpu_millis == {"100m": 100, "0.5": 500, 2: 2000, 0.25: 250, "2": 2000}[cpu]  # type: ignore[index]
    assert spec_of(resources={"memory": "1G"}).resources.cpu_policy is CpuPolicy.SHARE
    assert spec_of(resources={"cpu": cpu, "cpu_policy": "share"}).resources.cpu_policy is CpuPolicy.SHARE


@pytest.mark.parametrize(
    "cpu", ["", "m", "1e3", "-1", "0", 0, -1, 1e12, "1\n", "\u0661m", True, None, [], 1e-12]
)
def test_what_is_no_cpu(cpu: object) -> None:
    assert faults_of({"resources": {"cpu": cpu}}).keys() == {"/resources/cpu"}


@pytest.mark.parametrize(("memory", "size"), [("128Mi", 128 << 20), ("1G", 10**9), (5 << 20, 5 << 20)])
def test_memory(memory: object, size: int) -> None:
    assert spec_of(resources={"memory": memory}).resources.memory_bytes == size


@pytest.mark.parametrize("memory", ["", "1", 0, -5, 1.5, "1Zi", "9" * 30, 10**30, True, "128Mi\n"])
def test_what_is_no_memory(memory: object) -> None:
    assert faults_of({"resources": {"memory": memory}}).keys() == {"/resources/memory"}


def test_health_check_and_its_short_form() -> None:
    short = spec_of(networking={"health_path": "/health"}).networking
    long = spec_of(
        networking={"health_check": {"path": "/health", "interval": "2s", "timeout": 0.5}}
    ).networking
    assert (short.health_path, short.health_interval_secs, short.health_timeout_secs) == ("/health", 10, 5)
    assert (long.health_path, long.health_interval_secs, long.health_timeout_secs) == ("/health", 2, 0.5)
    differing = {"health_path": "/a", "health_check": {"path": "/b"}}
    assert faults_of({"networking": differing}).keys() == {"/networking/health_path"}


def test_the_whole_specification_as_shown_makes_the_same_one() -> None:
    spec = spec_of(
        artifact_id=ARTIFACT.upper(),
        replicas=0,
        networking={"protocol": "http+fd", "health_path": "/h"},
        env={"A": "ä\n"},
        command=["/bin/x", ""],
        args=["-v"],
        volumes=[{"host_path": "/srv/volumes/a", "container_path": "/srv/volumes/a"}],
        max_runtime_secs=5,
        wake={"replicas": 1, "timeout_secs": 2.5},
        stop={"signal": "SIGINT", "grace_secs": 0, "exclusive": True},
    )
    assert spec.artifact_id == ARTIFACT
    assert spec.networking.protocol is Protocol.HTTP_FD
    assert new_deployment(spec_object(spec), RULE)[1] == spec


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        ("/data", True),
        ("/data/a/b", True),
        ("/srv/volumes/x", True),
        ("/var/lib/platformd/volumes/x", True),
        ("/var/lib/platformd/volumes/../run", False),
        ("/var/lib/platformd", False),
        ("/var/lib/platformd/artifacts", False),
        ("/datax", False),
        ("/data/../etc", False),
        ("/", False),
        ("/etc", False),
    ],
)
def test_folders_that_may_be_volumes(path: str, fine: bool) -> None:
    assert (RULE.refusal(path) is None) is fine


def test_the_data_directory_is_never_a_volume_even_below_a_root() -> None:
    rule = VolumeRule.of(PurePosixPath("/data/platformd"), (PurePosixPath("/"),))
    assert rule.refusal("/data/other") is None
    assert rule.refusal("/data/platformd/volumes/x") is None
    for inside in ("/data/platformd", "/data/platformd/run", "/data", "/", "/data/platformd/platformd.db"):
        assert rule.refusal(inside), inside


def test_an_endless_list_of_faults_has_an_end() -> None:
    assert len(faults_of({f"x{n}": n for n in range(5000)})) == MAX_FAULTS


def test_pointers_are_escaped_and_bounded() -> None:
    found = faults_of({"a/b~c": 1, "k" * 5000: 1})
    assert "/a~1b~0c" in found
    assert all(len(pointer) < 100 and len(message) < 1000 for pointer, message in found.items())


def test_queries() -> None:
    query, faults = collect_query(schemas.DeploymentsQuery, {"page": [b"2"], "sort_order": [b"desc"]})
    assert query is not None
    assert (query.page, query.sort_order, query.page_size, faults) == (2, "desc", 20, [])
    _, faults = collect_query(
        schemas.DeploymentsQuery,
        {
            "page": [b"0"],
            "page_size": [b"1", b"2"],
            "sort_by": [b"env"],
            "bogus": [b""],
            "app_id": [b"\xff"],
            "sort_order": [b"desc\n"],
        },
    )
    assert {fault.pointer for fault in faults} == {
        "/page",
        "/page_size",
        "/sort_by",
        "/bogus",
        "/app_id",
        "/sort_order",
    }
    for text in (b"1.0", b"+1", b" 1", b"1e3", b"", b"x", b"9" * 40, "\u0661".encode()):
        assert collect_query(schemas.CursorQuery, {"page_token": [text]})[1], text


def test_lists_are_sorted_by_what_the_views_can_sort_by() -> None:
    kinds = {
        "apps": schemas.AppsQuery,
        "deployments": schemas.DeploymentsQuery,
        "tasks": schemas.TasksQuery,
        "artifacts": schemas.ArtifactsQuery,
        "builds": BuildsQuery,
    }
    assert {
        name: set(
            get_args(next(field.type for field in msgspec.structs.fields(kind) if field.name == "sort_by"))
        )
        for name, kind in kinds.items()
    } == {name: set(columns) for name, columns in SORTS.items()}


def test_durations_and_instants() -> None:
    assert [seconds(text) for text in ("10s", "1.5m", "500ms", "2", 3, "1h", "0s")] == [
        10,
        90,
        0.5,
        2,
        3,
        3600,
        0,
    ]
    for text in ("", "s", "-1s", "1 s", "1s\n", "1w", "\u0661s", "1e3"):
        with pytest.raises(ValueError, match="duration"):
            seconds(text)
    now = clock.now()
    assert instant("2026-01-31T12:00:00+01:00", now).isoformat() == "2026-01-31T11:00:00+00:00"
    assert (now - instant("10m", now)).total_seconds() == 600
    for text in (
        "",
        "yesterday",
        "2026-01-31T12:00:00",
        "2026-13-01T00:00:00Z",
        "9" * 30,
        "999999999d",
        "0001-01-01T00:00:00+23:00",
    ):
        with pytest.raises(ValueError, match="RFC 3339"):
            instant(text, now)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [field.encode_name for field in msgspec.structs.fields(schemas.NewDeployment)]
NESTED = [
    "cpu",
    "memory",
    "port",
    "health_check",
    "path",
    "host_path",
    "mode",
    "signal",
    "policy",
    "A",
    "concurrency",
]
BODY = st.dictionaries(
    st.sampled_from(FIELDS), JSON | st.dictionaries(st.sampled_from(NESTED), JSON, max_size=4), max_size=6
)


@given(BODY | JSON)
def test_any_value_is_taken_or_refused_with_words(body: object) -> None:
    try:
        new_deployment(body, RULE)
    except PlatformError as error:
        assert error.status in (422, 501)
        assert error.faults
        msgspec.json.encode([fault.message for fault in error.faults])


@given(BODY)
def test_what_is_taken_msgspec_takes_too(body: object) -> None:
    parsed, faults = collect(schemas.NewDeployment, body)
    assert (parsed is None) is bool(faults)
    if parsed is not None:
        assert msgspec.convert(body, schemas.NewDeployment) == parsed
