"""A glance at the credential finds what reading finds, and never fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.wire import InboundOptions, peek_credential, read_check
from extauthz.wire.twin import Check, build_check


@pytest.mark.parametrize("length", [1, 100, 127, 128, 900, 8000])
@pytest.mark.parametrize("raw_headers", [False, True])
def test_it_is_what_reading_finds(length: int, raw_headers: bool) -> None:
    value = "Bearer " + "t" * length
    headers = (("x-first", "1"), ("authorization", value), ("x-last", "2"))
    raw = build_check(Check(host="a.test", path="/a", headers=headers, raw_headers=raw_headers))
    assert value.encode() == peek_credential(raw)
    assert value == read_check(raw, InboundOptions()).headers.get("authorization")


def test_without_a_credential_it_is_empty() -> None:
    assert b"" == peek_credential(build_check(Check(host="a.test", path="/a")))


@given(st.binary(max_size=40), st.binary(max_size=6))
def test_any_bytes_do(before: bytes, after: bytes) -> None:
    assert isinstance(peek_credential(before + b"\x0a\x0dauthorization" + after), bytes)
