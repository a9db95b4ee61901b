"""Data files: read in small steps as a strict parser reads them, changed by merge patches, and bounded."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.bundle import BundleError, Memory
from extauthz.bundle import data as data_room
from extauthz.bundle.data import check_size, merge, parse_json
from extauthz.bundle.documents import read_documents
from extauthz.bundle.json_steps import InDoubtError, read_in_steps

NUMBERS = st.integers(1 - 10**17, 10**17) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abü\n", max_size=3), inner, max_size=4),
    max_leaves=20,
)


def same(left: object, right: object) -> bool:
    """Equal, and of the same types: True is no 1, and 1.0 is none either."""
    return left == right and repr(left) == repr(right)


@settings(max_examples=300)
@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from([1, 4096]))
def test_steps_read_what_the_strict_parser_reads(value: Any, indent: Any, ascii_only: bool, small: int) -> None:
    """However it is written, and also when every list and object is long enough to be read entry by entry."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extauthz.bundle.json_steps._SMALL", small)
        try:
            found = read_in_steps(text)
        except InDoubtError:
            assert "\\ud" in text  # astral characters, when they are escaped
            return
    assert same(msgspec.json.decode(text), found)


@settings(max_examples=300)
@given(st.text('{}[]:,"a1-.e \\u0dtrufalsn\n\x00', max_size=14), st.sampled_from([1, 4096]))
def test_steps_read_nothing_that_the_strict_parser_refuses(text: str, small: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extauthz.bundle.json_steps._SMALL", small)
        try:
            found = read_in_steps(text)
        except InDoubtError:
            return
    assert same(msgspec.json.decode(text), found)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        "[NaN]",
        "[1e999]",
        "[01]",
        "[1,]",
        '{"a": 1,}',
        "[1] 2",
        '["\\ud800"]',
        "",
        '["a\nb"]',
        "[.5]",
    ],
)
@pytest.mark.parametrize("around", ["%s", '{"x": [%s, %s]}'])
def test_what_is_no_json_or_has_two_readings_is_refused(text: str, around: str) -> None:
    """Short or long: the parser that reads entry by entry is as strict."""
    for filler in ("", " " * 5000):
        with pytest.raises(BundleError):
            parse_json(
                (
                    around.replace("%s", text) + filler if around == "%s" else around % (text, '"' + "x" * 5000 + '"')
                ).encode(),
                "data/x.json",
            )


def test_a_large_file_is_read_in_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser that holds up everybody is not asked when there is nothing wrong."""
    monkeypatch.setattr(data_room, "_parse_strictly", lambda *_: pytest.fail("read at one go"))
    value = {f"user-{number}": {"accounts": [str(number), "ü"], "limit": number} for number in range(1000)}
    assert value == parse_json(json.dumps(value).encode(), "data/x.json")
    assert [value] == parse_json(json.dumps([value], ensure_ascii=False).encode(), "data/x.json")


# RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_changes_follow_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    before = json.dumps(target)
    assert result == merge(target, patch)
    assert before == json.dumps(target)


BASE = {f"user-{number}": [str(number)] for number in range(5)}


def test_a_patch_shares_what_it_does_not_name() -> None:
    """A small file changes a large one, which is not read again."""
    memory = Memory()
    files = {"data/owners.json": json.dumps(BASE).encode()}
    before = read_documents(files, memory).data["owners"]
    files["data/owners.patch.json"] = b'{"user-1": ["7"], "user-2": null, "user-9": ["9"]}'
    after = read_documents(files, memory).data["owners"]
    assert ["user-0", "user-1", "user-3", "user-4", "user-9"] == [*after]
    assert after["user-0"] is before["user-0"]
    assert after is read_documents(files, memory).data["owners"]
    files["data/owners.patch.json"] = b"{}"
    assert before == read_documents(files, memory).data["owners"]
    del files["data/owners.patch.json"]
    assert read_documents(files, memory).data["owners"] is before
    assert memory._patched == {}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"data/owners.patch.json": b"{}"},
            "data/owners.patch.json: there is no data file `owners` that this could change",
        ),
        (
            {"data/owners.json": b"{}", "data/owners.patch.yaml": b"a: 1"},
            "data/owners.patch.yaml: changes to data are JSON (RFC 7396): write `owners.patch.json`",
        ),
        (
            {"data/owners.yaml": b"a: 1", "data/owners.patch.json": b"{"},
            "data/owners.patch.json: not valid JSON: input data was truncated",
        ),
    ],
)
def test_a_patch_that_cannot_be_applied_says_why(files: dict[str, bytes], message: str) -> None:
    assert [message] == [str(finding) for finding in read_documents(files).findings]


def test_too_much_data_is_refused_with_file_size_and_limit() -> None:
    files = {"data/a.json": b"[1,2]", "data/b.json": b"[1,2,3]", "policy.yaml": b"x" * 100}
    check_size(files, 12)
    with pytest.raises(
        BundleError, match=r"data/b.json: the data files have 12 bytes together, 7 of them here"
    ) as error:
        check_size(files, 11)
    assert error.value.step == "parse"
    assert "`bundle.maxDataBytes` allows 11" in str(error.value.findings[0])
