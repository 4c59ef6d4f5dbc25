"""JSON as it is decoded: strict, bounded in depth, and malformed in the contract's words."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.jsonbody import MAX_DEPTH, decode
from platformd.errors import Malformed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"x": {"a": 1, "b": 2, "a": 3}}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * 100_000,
        b"[" * 1_000_000,
        b"{}x",
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        decode(body)
    assert refused.value.code == "MALFORMED_JSON"
    assert len(refused.value.message) < 300


def test_json_that_only_looks_deep_is_fine() -> None:
    assert decode(b'{"a": "[[[[' + b"[" * 100 + b'\\"["}') == {"a": "[[[[" + "[" * 100 + '"['}
    wide = b"[" + b",".join([b"{}"] * 1000) + b"]"
    assert decode(wide) == [{}] * 1000
    assert decode(b'"\\ud83d\\ude00"') == "\U0001f600"


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ud8 10eE+-ntrflasu', max_size=60).map(str.encode))
def test_any_bytes_are_json_or_malformed(body: bytes) -> None:
    try:
        msgspec.json.encode(decode(body))
    except Malformed:
        return
