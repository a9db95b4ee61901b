"""Dictionaries of RFC 8941, as far as signatures of messages and digests of bodies use them.

Rule 1: where RFC 8941 lets the last of several members of one name win, there is no single reading, and it is refused.
Rule 2: every value has one spelling, so that what was read is written again byte by byte (RFC 9421 section 2.3).
Rule 3: total and linear: whatever the text, the end is a dictionary or the reason why it is none.
"""

import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import NoReturn

from msgspec import Struct

MAX_TEXT = 8 * 1024  # characters of a field; servers commonly cut header lines there
MAX_MEMBERS, MAX_ITEMS, MAX_PARAMETERS = 16, 64, 16

_NAME = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")
_BYTES = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
_BOOLEAN = re.compile(r"\?([01])")
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_ESCAPED = re.compile(r"\\(.)")
_BETWEEN_MEMBERS = re.compile(r"[ \t]*,[ \t]*")
_SPACES = re.compile(r" *")


class Token(Struct, frozen=True):
    """A word without quotes."""

    text: str


Value = str | int | bytes | bool | Token


class Item(Struct, frozen=True):
    """A value and its parameters; `text` is how all of it is written."""

    value: Value
    parameters: Mapping[str, Value]
    text: str


class InnerList(Struct, frozen=True):
    """Items in parentheses, and parameters of the whole."""

    items: tuple[Item, ...]
    parameters: Mapping[str, Value]
    text: str


class _UnreadableError(ValueError):
    """Why the text is no dictionary; never quotes it."""


def read_dictionary(text: str) -> dict[str, Item | InnerList] | str:
    """The members of a dictionary (RFC 8941 section 4.2.2) by name, or why there is no single reading."""
    if len(text) > MAX_TEXT:
        return "longer than 8 KiB"
    try:
        return _Reader(text.strip(" ")).dictionary()
    except _UnreadableError as error:
        return str(error)


class _Reader:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def dictionary(self) -> dict[str, Item | InnerList]:
        members: dict[str, Item | InnerList] = {}
        while True:
            name = self._take(_NAME, "a name is missing")[0]
            if name in members:
                _refuse("a member named twice")
            members[name] = self._member()
            if len(members) > MAX_MEMBERS:
                _refuse(f"more than {MAX_MEMBERS} members")
            if self._at == len(self._text):
                return members
            self._take(_BETWEEN_MEMBERS, "no comma between members")

    def _member(self) -> Item | InnerList:
        if not self._skip("="):  # RFC 8941 section 3.2: a name alone is true
            parameters, text = self._parameters()
            return Item(True, parameters, text)  # noqa: FBT003 - the value of the member
        return self._inner_list() if self._skip("(") else self._item()

    def _inner_list(self) -> InnerList:
        items: list[Item] = []
        self._match(_SPACES)
        while not self._skip(")"):
            items.append(self._item())
            if len(items) > MAX_ITEMS:
                _refuse(f"more than {MAX_ITEMS} items")
            spaces = self._match(_SPACES)
            if not (spaces and spaces[0]) and not self._text.startswith(")", self._at):
                _refuse("no space between items")
        parameters, text = self._parameters()
        return InnerList(tuple(items), parameters, f"({' '.join(item.text for item in items)}){text}")

    def _item(self) -> Item:
        start = self._at
        value = self._value()
        written = self._text[start : self._at]
        parameters, text = self._parameters()
        return Item(value, parameters, written + text)

    def _parameters(self) -> tuple[dict[str, Value], str]:
        """Parameters, and how they are written (RFC 8941 section 4.1.1.2)."""
        found: dict[str, Value] = {}
        text = ""
        while self._skip(";"):
            self._match(_SPACES)
            start = self._at
            name = self._take(_NAME, "a parameter without a name")[0]
            if name in found:
                _refuse("a parameter named twice")
            found[name] = True
            if self._skip("="):
                found[name] = self._value()
                if found[name] is True:
                    _refuse("a parameter that is true has no value")
            if len(found) > MAX_PARAMETERS:
                _refuse(f"more than {MAX_PARAMETERS} parameters")
            text += ";" + self._text[start : self._at]
        return found, text

    def _value(self) -> Value:
        if match := self._match(_STRING):
            return _ESCAPED.sub(r"\1", match[1])
        if match := self._match(_BYTES):
            return _octets(match[1])
        if match := self._match(_INTEGER):
            if self._text[self._at : self._at + 1] in {*"0123456789."}:
                _refuse("a number that is no integer in its one spelling")
            return int(match[0])
        if match := self._match(_BOOLEAN):
            return match[1] == "1"
        return Token(self._take(_TOKEN, "a value that is none of the known kinds")[0])

    def _skip(self, char: str) -> bool:
        found = self._text.startswith(char, self._at)
        self._at += found
        return found

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def _take(self, pattern: re.Pattern[str], missing: str) -> re.Match[str]:
        match = self._match(pattern)
        if match is None:
            _refuse(missing)
        return match


def _octets(text: str) -> bytes:
    try:
        value = a2b_base64(text, strict_mode=True)
    except Error:
        _refuse("bytes that are not base64")
    if b2a_base64(value, newline=False) != text.encode():
        _refuse("bytes that are not in their one spelling")
    return value


def _refuse(why: str) -> NoReturn:
    raise _UnreadableError(why)
