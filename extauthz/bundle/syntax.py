"""YAML text → plain values that know their lines.

Rule 1: what two YAML readers could take differently is refused: aliases, tags, merge keys, directives, duplicate keys.
Rule 2: whatever the bytes, the end is a list of trees or a BundleError; sizes are capped before work is done.
"""

import itertools
import re
import sys
from array import array
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Struct
from yaml import MarkedYAMLError, YAMLError
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # libyaml's own, the stubs do not list it
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from extauthz.bundle.finding import MAX_FINDINGS, BundleError, Finding, dotted, shorten
from extauthz.model.codes import Code
from extauthz.model.problems import Location, Problem

# 10,000 policies with conditions are 5 to 8 MB when written as one file.
MAX_FILE_BYTES: Final = 16 << 20
# About what a file of that size can hold when it is written by people.
MAX_NODES: Final = 2_000_000
# The deepest document kind needs 9. libyaml takes quadratic time over nested brackets: 45 s for 200,000 of them.
MAX_DEPTH: Final = 64
# Conditions count in signed 64-bit integers.
INT_LIMIT: Final = 1 << 63
_SHARED_LENGTH: Final = 64  # of texts that are likely to be written more than once
_MAX_DIGITS: Final = 40  # a longer number cannot be kept exactly, and `int` takes quadratic time

Event = Any  # an event of libyaml: has more members than the stubs of its base class

_NUMBER_START = frozenset("-0123456789")
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
# YAML 1.2 core schema. `yes`, `no`, `on` and `off` are text: a country or a switch, whoever reads it.
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_FLOAT_LIMIT: Final = float("inf")
# What is usually meant when libyaml says this.
_HINTS: Final = {
    "cannot start any token": ": indent with spaces, and quote text that begins with a special character",
    "mapping values are not allowed": ": quote text that contains `: `, and check the indentation",
    "did not find expected ',' or": ": quote text inside brackets that contains `{`, `[` or `,`",
    "found a tab": ": indent with spaces",
    "found unexpected end of stream": ": close the quote",
    "did not find expected key": ": check the indentation, and quote text that begins with a quote",
}


class Lines:
    """Where everything of a document was written: a number for each value, in the order in which they stand.

    Not a tree of its own, which took more memory than the values: 40 MB for 10,000 policies.
    """

    __slots__ = ("_last", "_numbers", "_packed", "_written")

    def __init__(self, written: object, numbers: "array[int]") -> None:
        """`written`: the document's value, which must not change any more."""
        self._written, self._numbers, self._packed = written, numbers, b""
        self._last: tuple[Location, int] | None = None  # asked again with each change elsewhere

    @property
    def written(self) -> Any:  # noqa: ANN401 - any value
        """The document's value."""
        return msgspec.json.decode(self._packed) if self._packed else self._written

    def pack(self) -> None:
        """Keep the value as text, which takes a fourth of the memory and a few microseconds when it is wanted."""
        if not self._packed:
            self._packed, self._written = msgspec.json.encode(self._written), None

    def line(self, location: Location) -> int:
        """The line of that place, or of the nearest place around it that was written; from 1."""
        if self._last is None or self._last[0] != location:
            self._last = location, self._find(location)
        return self._last[1]

    def _find(self, location: Location) -> int:
        value, number = self.written, 0
        for step in location:
            if isinstance(value, dict) and step in value:
                before = list(value).index(step)
                number += 1 + sum(map(_count, itertools.islice(value.values(), before)))
                value = value[step]
            elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
                number += 1 + sum(map(_count, value[:step]))
                value = value[step]
            else:
                break
        return self._numbers[number]


def _count(value: object) -> int:
    """How many values there are in it, itself among them. Recursion is bounded by MAX_DEPTH."""
    if isinstance(value, dict):
        return 1 + sum(map(_count, value.values()))
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


NO_LINES: Final = Lines({}, array("I", [0]))  # of what is in no file


class Tree(Struct, frozen=True):
    """One document: plain dicts, lists and scalars, and where each was written."""

    file: str
    lines: Lines
    other: Any = msgspec.UNSET  # what stands for the written value

    @property
    def value(self) -> Any:  # noqa: ANN401 - any value
        """What the document says."""
        return self.lines.written if self.other is msgspec.UNSET else self.other

    def line(self, location: Location) -> int:
        """As `Lines.line`."""
        return self.lines.line(location)

    def error(self, location: Location, message: str, code: Code = "invalid") -> Finding:
        """A defect of the document at that place."""
        return self.finding(Problem(location, message, "error", code))

    def warning(self, location: Location, message: str, code: Code) -> Finding:
        """Something doubtful at that place."""
        return self.finding(Problem(location, message, "warning", code))

    def finding(self, problem: Problem) -> Finding:
        """A problem with file and line."""
        return Finding(
            file=self.file,
            line=self.line(problem.location),
            field=dotted(problem.location),
            message=problem.message,
            severity=problem.severity,
            code=problem.code,
        )


def parse_yaml(text: bytes, file: str) -> list[Tree]:
    """Every document of a YAML file; empty documents are left out. Raises BundleError with all defects of the file."""
    return _Reader(decode(text, file), file).read()


def decode(text: bytes, file: str) -> str:
    """The text of a file of at most MAX_FILE_BYTES in UTF-8, with or without a byte order mark."""
    if len(text) > MAX_FILE_BYTES:
        message = f"the file has {len(text)} bytes, at most {MAX_FILE_BYTES} are read: split it"
        raise BundleError([Finding(file=file, message=message, code="syntax")])
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        message = f"byte `0x{text[error.start]:02x}` is not UTF-8: save the file as UTF-8"
        raise BundleError([Finding(file=file, line=line, message=message, code="syntax")]) from None


def _shared(text: str) -> str:
    """The same text, once in memory however often it is written: roles, methods, names of fields."""
    return sys.intern(text) if len(text) <= _SHARED_LENGTH else text


class _Reader:
    """Builds values from libyaml's events, so that caps hold before a tree exists."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._findings: list[Finding] = []
        self._nodes = 0
        self._depth = 0
        self._lines = array("I")  # of the document
        self._next: Callable[[], Event] = CParser(text).get_event

    def read(self) -> list[Tree]:
        trees: list[Tree] = []
        try:
            while not isinstance(event := self._next(), StreamEndEvent):
                if isinstance(event, DocumentStartEvent):
                    if event.version or event.tags:
                        self._refuse(event, "directives are not supported: remove the line that begins with `%`")
                    self._lines = array("I")
                    value = self._node(self._next())
                    if value is not None:
                        trees.append(Tree(self._file, Lines(value, self._lines)))
        except YAMLError as error:
            self._findings.append(self._syntax_error(error))
        if self._findings:
            raise BundleError(self._findings)
        return trees

    def _node(self, event: Event) -> Any:  # noqa: ANN401 - whatever is written there
        """The value that begins with `event`. Recursion is bounded by MAX_DEPTH."""
        kind = type(event)
        self._lines.append(event.start_mark.line + 1)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._give_up(event, f"the file has more than {MAX_NODES} values: split it")
        if kind is AliasEvent:
            self._refuse(event, f"alias `*{shorten(event.anchor)}` is not supported: write the value out")
            return None
        if event.anchor is not None:
            self._refuse(event, f"anchor `&{shorten(event.anchor)}` is not supported: remove it")
        if event.tag is not None:
            name = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(
                event, f"tag `{shorten(name)}` is not supported: remove it, and quote the value to make it text"
            )
        if kind is ScalarEvent:
            return self._scalar(event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._give_up(event, f"nested more than {MAX_DEPTH} levels deep: flatten it")
        found = self._mapping() if kind is MappingStartEvent else self._list()
        self._depth -= 1
        return found

    def _list(self) -> list[Any]:
        values: list[Any] = []
        while type(event := self._next()) is not SequenceEndEvent:
            values.append(self._node(event))
        return values

    def _mapping(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        written: dict[str, int] = {}
        while type(event := self._next()) is not MappingEndEvent:
            key, line, place = self._key(event), event.start_mark.line + 1, len(self._lines)
            value = self._node(self._next())
            if key in values:
                self._refuse(event, f"key `{shorten(key)}` is already set in line {written[key]}: remove one")
                continue
            values[key], written[key] = value, line
            self._lines[place] = line  # what stands under a key is reported where the key stands
        return values

    def _key(self, event: Event) -> str:
        if type(event) is not ScalarEvent:
            self._refuse(event, "a key must be text, not a mapping, a list or an alias")
            if type(event) is not AliasEvent:
                self._node(event)
            return ""
        if event.anchor is not None or event.tag is not None:
            self._refuse(event, "a key must be plain text, without anchor and tag")
        text: str = event.value
        if not event.style:
            if text == "<<":
                self._refuse(event, "merge key `<<` is not supported: write the fields out")
            elif text in _WORDS or (text[0] in _NUMBER_START and _FLOAT.fullmatch(text)):
                self._refuse(event, f'key `{shorten(text)}` must be text: write `"{shorten(text)}"`')
        return _shared(text)

    def _scalar(self, event: Event) -> str | float | bool | None:
        text: str = event.value
        if event.style:
            return _shared(text)
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMBER_START or not _FLOAT.fullmatch(text):
            return _shared(text)
        if len(text) <= _MAX_DIGITS:
            if not _INT.fullmatch(text):
                number = float(text)
                if -_FLOAT_LIMIT < number < _FLOAT_LIMIT:
                    return number
            elif -INT_LIMIT <= (whole := int(text)) < INT_LIMIT:
                return whole
        self._refuse(event, f"number `{shorten(text)}` is too large: quote it to make it text")
        return 0

    def _refuse(self, event: Event, message: str) -> None:
        self._findings.append(Finding(file=self._file, line=event.start_mark.line + 1, message=message, code="syntax"))
        if len(self._findings) >= MAX_FINDINGS:
            raise BundleError(self._findings)

    def _give_up(self, event: Event, message: str) -> NoReturn:
        self._refuse(event, message)
        raise BundleError(self._findings)

    def _syntax_error(self, error: YAMLError) -> Finding:
        line, problem = 0, "the text cannot be read"
        if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
            last = len(self._text.splitlines())  # the end of the text is on its last line, not behind it
            line, problem = min(error.problem_mark.line + 1, last or 1), str(error.problem)
        elif isinstance(error, ReaderError):
            # libyaml counts bytes.
            line = self._text.encode()[: error.position].count(b"\n") + 1
            problem = f"character `U+{error.character:04X}` may not be written raw"
        hint = next((hint for part, hint in _HINTS.items() if part in problem), "")
        return Finding(file=self._file, line=line, message=f"not valid YAML: {problem}{hint}", code="syntax")
