"""Trees to typed values: every mistake at once, each at its place, each with what would be right."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from extauthz.bundle import bind, parse_yaml


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    part_name: str
    count: Annotated[int, Meta(ge=1, le=9)] = 1


class Whole(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    mode: Literal["on", "off"] = "on"
    ratio: float = 0.5
    flag: bool = False
    parts: tuple[Part, ...] = ()
    by_name: dict[str, Part] = {}
    maybe: Part | None = None
    texts: str | tuple[str, ...] = ""
    at: int | Annotated[datetime, Meta(tz=True)] | None = None
    colour: Colour = Colour.RED
    anything: dict[str, Any] = {}
    code: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"


def faults(text: str) -> list[str]:
    (tree,) = parse_yaml(text.encode(), "c.yaml")
    bound = bind(tree, Whole)
    assert isinstance(bound, list), bound
    return [str(finding) for finding in bound]


def test_a_good_document_is_a_typed_value() -> None:
    (tree,) = parse_yaml(
        b"mode: off\nparts: [{partName: a, count: 9}]\ntexts: [a]\nat: '2026-01-01T00:00:00Z'", "c.yaml"
    )
    bound = bind(tree, Whole)
    assert isinstance(bound, Whole)
    assert (bound.mode, bound.parts, bound.texts) == ("off", (Part(part_name="a", count=9),), ("a",))


def test_all_mistakes_are_told_at_once_each_at_its_line() -> None:
    text = """\
mode: of
ratio: much
flag: no
parts:
- partNam: a
- {partName: 1, count: 0}
- text
byName:
  x: {count: 2.5, partName: a}
maybe: [1]
texts: {a: b}
at: yesterday
colour: bleu
anything: null
code: A1
unknown: 1
"""
    assert faults(text) == [
        "c.yaml:1: mode: unknown value `of`, did you mean `off`?",
        "c.yaml:2: ratio: expected a number, found the text `much`",
        "c.yaml:3: flag: expected `true` or `false`, found the text `no`",
        "c.yaml:5: parts[0].partNam: unknown field `partNam`, did you mean `partName`?",
        "c.yaml:5: parts[0].partName: missing: expected text",
        "c.yaml:6: parts[1].partName: expected text, found the number `1`: quote it to make it text",
        "c.yaml:6: parts[1].count: must be at least 1 and at most 9, found the number `0`",
        "c.yaml:7: parts[2]: expected a mapping, found the text `text`",
        "c.yaml:9: byName.x.count: expected a whole number, found the number `2.5`",
        "c.yaml:10: maybe: expected a mapping, found a list",
        "c.yaml:11: texts: expected text or a list, found a mapping",
        "c.yaml:12: at: expected a whole number or a time such as `2026-01-31T12:00:00Z`, found the text `yesterday`",
        "c.yaml:13: colour: unknown value `bleu`, did you mean `blue`?",
        "c.yaml:14: anything: expected a mapping, found nothing",
        "c.yaml:15: code: must be of the form `^[a-z]+$`, found the text `A1`",
        (
            "c.yaml:16: unknown: unknown field `unknown`: allowed are `anything`, `at`, `byName`, `code`, `colour`, "
            "`flag`, `maybe`, `mode`, `parts`, `ratio`, `texts`"
        ),
    ]


def test_what_is_no_mapping_at_all_is_told() -> None:
    assert faults("- a\n") == ["c.yaml:1: expected a mapping, found a list"]


def test_a_message_is_one_printable_line() -> None:
    """A key or value from a file cannot forge another line of the log (T-72)."""
    assert faults('"a\\nb\\e[31m": 1\n')[0].startswith('c.yaml:1: ["a\\nb\\x1b[31m"]: unknown field `a\\nb\\x1b[31m`')
    assert len(faults(f"mode: {'x' * 5000}\n")[0]) < 200
