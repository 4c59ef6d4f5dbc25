"""Signatures: GitHub's own published example, and everything that is not quite one."""

import pytest

from platformd.github import signed_by
from tests.github.payloads import signature

SECRET, BODY = "It's a Secret to Everybody", b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_githubs_example_is_right() -> None:
    assert signed_by(SECRET, BODY, SIGNATURE)


@pytest.mark.parametrize(
    ("secret", "body", "given"),
    [
        (SECRET, BODY + b" ", SIGNATURE),
        ("another", BODY, SIGNATURE),
        (SECRET, BODY, SIGNATURE.upper()),
        (SECRET, BODY, SIGNATURE.removeprefix("sha256=")),
        (SECRET, BODY, SIGNATURE.replace("sha256", "sha1")),
        (SECRET, BODY, SIGNATURE[:-1]),
        (SECRET, BODY, SIGNATURE + "0"),
        (SECRET, BODY, "sha256=\u00e9\ud800"),
        (SECRET, BODY, "sha256="),
        (SECRET, BODY, ""),
        ("", BODY, "sha256=" + "0" * 64),
    ],
)
def test_anything_else_is_wrong(secret: str, body: bytes, given: str) -> None:
    assert not signed_by(secret, body, given)


def test_an_empty_secret_signs_nothing_even_where_the_sum_is_right() -> None:
    assert not signed_by("", BODY, signature("", BODY))
