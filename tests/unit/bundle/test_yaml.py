"""What is read from YAML and JSON text, and what is refused with its line."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.bundle import BundleError, Finding, parse_yaml
from extauthz.bundle.data import parse_json
from extauthz.bundle.syntax import MAX_DEPTH, MAX_FILE_BYTES


def refusals(text: str | bytes, file: str = "a.yaml") -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(BundleError) as caught:
        parse_json(raw, file) if file.endswith(".json") else parse_yaml(raw, file)
    return [str(finding) for finding in caught.value.findings]


def test_only_true_and_false_are_booleans() -> None:
    """A country code, a switch, a time, a date or an account number stay the text that was written."""
    text = "{no: no, a: on, b: yes, c: 0123, d: 0x1F, e: 1_000, f: 12:30, g: 2026-01-01, h: .inf, i: +1, j: 0o17}"
    (tree,) = parse_yaml(text.encode(), "a.yaml")
    assert tree.value == {
        "no": "no", "a": "on", "b": "yes", "c": "0123", "d": "0x1F", "e": "1_000", "f": "12:30", "g": "2026-01-01",
        "h": ".inf", "i": "+1", "j": "0o17",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("-12", -12),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("'1'", "1"),
        ('"true"', "true"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    (tree,) = parse_yaml(f"a: {text}".encode(), "a.yaml")
    assert tree.value == {"a": value}
    assert type(tree.value["a"]) is type(value)


def test_every_place_knows_its_line() -> None:
    text = b"# heading\nspec:\n  rules:\n  - to: [a,\n      b]\n  - name: second\n---\nspec: 1\n"
    first, second = parse_yaml(text, "a.yaml")
    lines = {
        (): 2,
        ("spec",): 2,
        ("spec", "rules"): 3,
        ("spec", "rules", 0): 4,
        ("spec", "rules", 0, "to"): 4,
        ("spec", "rules", 0, "to", 1): 5,
        ("spec", "rules", 1, "name"): 6,
        ("spec", "rules", 1, "missing"): 6,
        ("spec", "rules", 7): 3,
    }
    assert lines == {place: first.line(place) for place in lines}
    assert second.line(("spec",)) == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: key `a` is already set in line 1: remove one"),
        ("x:\n  - {a: 1,\n     a: 2}\n", "a.yaml:3: key `a` is already set in line 2: remove one"),
        ('a: b\n"a": c\n', "a.yaml:2: key `a` is already set in line 1: remove one"),
        ("a: &x 1\n", "a.yaml:1: anchor `&x` is not supported: remove it"),
        ("<<: {a: 1}\n", "a.yaml:1: merge key `<<` is not supported: write the fields out"),
        ("a: !!str 1\n", "a.yaml:1: tag `!!str` is not supported: remove it, and quote the value to make it text"),
        (
            "a: !!python/object/apply:os.system [id]\n",
            "a.yaml:1: tag `!!python/object/apply:os.system` is not supported: remove it, and quote the value to make it text",
        ),
        ("1: a\n", 'a.yaml:1: key `1` must be text: write `"1"`'),
        ("a:\n  true: b\n", 'a.yaml:2: key `true` must be text: write `"true"`'),
        ("? [a, b]\n: c\n", "a.yaml:1: a key must be text, not a mapping, a list or an alias"),
        ("%YAML 1.1\n---\na: 1\n", "a.yaml:1: directives are not supported: remove the line that begins with `%`"),
        ("a: 9223372036854775808\n", "a.yaml:1: number `9223372036854775808` is too large: quote it to make it text"),
        ("\na: 1e999\n", "a.yaml:2: number `1e999` is too large: quote it to make it text"),
        (
            "to: [{paths: [/a/{b}]}]\n",
            (
                "a.yaml:1: not valid YAML: did not find expected ',' or ']': "
                "quote text inside brackets that contains `{`, `[` or `,`"
            ),
        ),
        (
            "a: b: c\n",
            (
                "a.yaml:1: not valid YAML: mapping values are not allowed in this context: "
                "quote text that contains `: `, and check the indentation"
            ),
        ),
        (
            "a:\n\tb: c\n",
            (
                "a.yaml:2: not valid YAML: found character that cannot start any token: "
                "indent with spaces, and quote text that begins with a special character"
            ),
        ),
        ("a: 'open\n", "a.yaml:1: not valid YAML: found unexpected end of stream: close the quote"),
        ("a: 1\nb: \x07\n", "a.yaml:2: not valid YAML: character `U+0007` may not be written raw"),
        (b"a: 1\nb: \xff\n", "a.yaml:2: byte `0xff` is not UTF-8: save the file as UTF-8"),
    ],
)
def test_what_two_readers_could_take_differently_is_refused_with_its_line(text: str | bytes, expected: str) -> None:
    assert refusals(text) == [expected]


def test_all_refusals_of_a_file_come_at_once() -> None:
    assert refusals("a: &x 1\nb: *x\nc: 1\nc: 2\n") == [
        "a.yaml:1: anchor `&x` is not supported: remove it",
        "a.yaml:2: alias `*x` is not supported: write the value out",
        "a.yaml:4: key `c` is already set in line 3: remove one",
    ]


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "bomb",
    [
        LAUGHS,
        "[" * 200_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "[? " * 100_000,
        "".join("  " * depth + "a:\n" for depth in range(500)),
        "a: " + "9" * 5_000_000,
        "\n".join(f"&a{number} x: 1" for number in range(100_000)),
    ],
    ids=["laughs", "lists", "maps", "blocks", "keys", "list-keys", "indented", "number", "anchors"],
)
def test_a_bomb_is_refused_at_once(bomb: str) -> None:
    """libyaml alone takes 45 s for the second of these, and the first would grow to gigabytes."""
    began = time.process_time()
    assert refusals(bomb)
    assert time.process_time() - began < 2


def test_depth_and_size_are_capped() -> None:
    nested = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert refusals(nested) == [f"a.yaml:1: nested more than {MAX_DEPTH} levels deep: flatten it"]
    assert parse_yaml(nested[1:-1].encode(), "a.yaml")
    assert refusals(b"#" * (MAX_FILE_BYTES + 1)) == [
        "a.yaml: the file has 16777217 bytes, at most 16777216 are read: split it"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,\n "b": {"a": 2},\n "a": 3}', ["d.json:3: key `a` is already set in line 1: remove one"]),
        ('[{"a": ":",\n"\\u0061": 2}]', ["d.json:2: key `a` is already set in line 1: remove one"]),
        ('{"a": 1, "a": 1}', ["d.json:1: key `a` is already set in line 1: remove one"]),
        ('{\n"a": tru}', ["d.json:2: not valid JSON: invalid character"]),
        ('{"a": NaN}', ["d.json:1: not valid JSON: invalid character"]),
        ('{"a": 1e999}', ["d.json: not valid JSON: number out of range"]),
        ("[" * 100_000, [f"d.json: nested more than {MAX_DEPTH} levels deep: flatten it"]),
        ("[" * 70 + "]" * 70, [f"d.json: nested more than {MAX_DEPTH} levels deep: flatten it"]),
        ("[9223372036854775808]", ["d.json: number `9223372036854775808` is too large: quote it to make it text"]),
    ],
)
def test_json_is_read_as_strictly(text: str, expected: list[str]) -> None:
    assert refusals(text, "d.json") == expected


def test_json_keeps_what_yaml_could_not_write() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00\\/"}', "d.json") == {"a": "\N{GRINNING FACE}/"}


YAML_PIECES = st.lists(
    st.sampled_from(
        ["a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ", ", "? ", "&x ", "*x", "!!t ", "|\n", "'", '"', "#", "---\n",
         "...\n", "%YAML 1.1\n", "<<", "\\u0000", "\t", "1", "true", "\x85", "\ufeff", "é", "@", "`"]
    ),
    max_size=30,
).map("".join)  # fmt: skip


@given(st.one_of(st.binary(max_size=200), YAML_PIECES.map(str.encode)))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    """T-62: total; what is read is plain, and every text in it can be written out again."""
    for parse in (lambda: [tree.value for tree in parse_yaml(text, "a.yaml")], lambda: parse_json(text, "a.json")):
        found: list[Finding] = [Finding(file="a", message="read")]
        try:
            repr(parse()).encode()
        except BundleError as error:
            found = error.findings
        assert found
        assert all(str(finding).isprintable() for finding in found)
