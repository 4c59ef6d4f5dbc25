"""Labels, digests and URLs."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd.domain.naming import (
    Addresses,
    deployment_sha,
    environment_label,
    preview_label,
    preview_labels,
    subdomain,
)

LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?", fullmatch=True)
slugs = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
shas = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
versions = st.integers(1, 10**9)


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("web", "default", "web-default"),
        ("My-API", "Team-1", "my-api-team-1"),
        ("a.b_c", "ü d", "a-b-c---d"),
        ("n" * 40, "m" * 40, "n" * 40 + "-" + "m" * 22),
        ("n" * 40, "m" * 21 + "-xyz", "n" * 40 + "-" + "m" * 21),
    ],
)
def test_subdomain(name, namespace, expected):
    assert subdomain(name, namespace) == expected


@given(names, names)
def test_a_subdomain_is_a_label(name, namespace):
    assert LABEL.match(subdomain(name, namespace))


def test_preview_labels_in_order_of_preference():
    assert list(islice(preview_labels("My-API", "a1b2c3d4", "production", 7), 4)) == [
        "my-api-a1b2c3d4-production",
        "my-api-a1b2c3d4-v7-production",
        "my-api-a1b2c3d4-v7-2-production",
        "my-api-a1b2c3d4-v7-3-production",
    ]


@given(names, shas, slugs, versions)
def test_every_preview_label_is_a_label_and_different(name, sha, slug, version):
    labels = list(islice(preview_labels(name, sha, slug, version), 5))
    assert all(LABEL.match(label) for label in labels)
    assert len(set(labels)) == 5
    assert labels[0].endswith(f"-{sha}-{slug}")
    assert labels[1].endswith(f"-{sha}-v{version}-{slug}")


@given(names, shas, slugs)
def test_only_an_overlong_label_is_shortened_and_only_its_name(name, sha, slug):
    plain = f"{name.lower()}-{sha}-{slug}"
    label = preview_label(name, sha, slug)
    if len(plain) <= 63:
        assert label == plain
        return
    shortened = label.removesuffix(f"-{sha}-{slug}")
    assert shortened != label
    start, digest = shortened[:-7], shortened[-6:]
    assert shortened[-7] == "-"
    assert name.lower().startswith(start)
    assert re.fullmatch(r"[0-9a-f]{6}", digest)


def test_overlong_names_that_begin_alike_stay_apart():
    one, other = (preview_label("n" * 39 + last, "a1b2c3d4", "e" * 32) for last in "ab")
    assert one != other
    assert len(one) == 63


@given(names, names, slugs)
def test_an_environment_label_is_a_label(name, namespace, slug):
    of_app = subdomain(name, namespace)
    label = environment_label(of_app, slug)
    assert LABEL.match(label)
    assert label.endswith(f"-{slug}")
    if len(of_app) + 1 + len(slug) <= 63:
        assert label == f"{of_app}-{slug}"


@given(st.text(max_size=20), versions, st.binary(max_size=50))
def test_a_sha_is_eight_hex_digits_and_always_the_same(app_id, version, spec):
    sha = deployment_sha(app_id, version, spec)
    assert re.fullmatch(r"[0-9a-f]{8}", sha)
    assert sha == deployment_sha(app_id, version, spec)
    assert sha != deployment_sha(app_id, version + 1, spec)


@pytest.mark.parametrize(
    ("commit", "expected"),
    [
        ("ABCDEF0123" + "0" * 30, "abcdef01"),
        ("0123abcd", "0123abcd"),
        ("main", None),
        ("abc", None),
        ("", None),
    ],
)
def test_a_commit_gives_the_sha_when_it_is_one(commit, expected):
    digest = deployment_sha("app", 1, b"{}")
    assert deployment_sha("app", 1, b"{}", commit) == (expected or digest)


@pytest.mark.parametrize(
    ("scheme", "port", "url"),
    [
        ("http", None, "http://web.example.com"),
        ("http", 47000, "http://web.example.com:47000"),
        ("http", 80, "http://web.example.com"),
        ("https", 443, "https://web.example.com"),
        ("https", 80, "https://web.example.com:80"),
    ],
)
def test_urls(scheme, port, url):
    addresses = Addresses(scheme, "example.com", port)
    assert addresses.url(addresses.host("web")) == url
