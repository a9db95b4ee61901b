"""Data files: JSON or YAML that conditions read as `data.<file>`."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from extauthz.bundle.finding import BundleError, Finding, shorten
from extauthz.bundle.json_steps import InDoubtError, read_in_steps
from extauthz.bundle.syntax import INT_LIMIT, MAX_DEPTH, MAX_NODES, decode, parse_yaml

DATA: Final = "data/"  # where data files are
PATCH: Final = ".patch"  # ends the stem of a file with changes to another: `data/owners.patch.json`
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')
_OFFSET = re.compile(r" \(byte (\d+)\)$")
_TOO_DEEP: Final = f"nested more than {MAX_DEPTH} levels deep: flatten it"


def check_size(files: Mapping[str, bytes], max_bytes: int) -> None:
    """Raise BundleError when the data files of a bundle are larger than `max_bytes` together."""
    sizes = {path: len(content) for path, content in files.items() if path.startswith(DATA)}
    if (total := sum(sizes.values())) > max_bytes:
        largest = max(sizes, key=lambda path: sizes[path])
        message = (
            f"the data files have {total} bytes together, {sizes[largest]} of them here: `bundle.maxDataBytes` allows "
            f"{max_bytes}"
        )
        raise BundleError([Finding(file=largest, message=message)], "parse")


def merge(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON values
    """RFC 7396 (JSON Merge Patch) section 2. Nothing is changed: what the patch does not name is shared."""
    if not isinstance(patch, dict):
        return patch
    # A copy of 100,000 members takes 0.2 ms; entered one by one, 4 ms for the last time that their table grows.
    merged: dict[str, Any] = target.copy() if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def read_data(text: bytes, file: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """The one value of the file. Raises BundleError."""
    if file.endswith(".json"):
        return parse_json(text, file)
    trees = parse_yaml(text, file)
    if len(trees) != 1:
        message = f"a data file holds one document, found {len(trees)}"
        raise BundleError([Finding(file=file, line=trees[1].line(()) if trees else 0, message=message, code="syntax")])
    return trees[0].value


def parse_json(text: bytes, file: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """A JSON value (RFC 8259) without duplicate keys, within the caps that hold for YAML. Raises BundleError."""
    decoded = decode(text, file)
    try:
        value = read_in_steps(decoded)
    except InDoubtError:
        value = _parse_strictly(decoded, file)
    _check_caps(value, file)
    return value


def _parse_strictly(decoded: str, file: str) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        # msgspec is strict about escapes and numbers but takes the last of duplicate keys; `json` can tell.
        value = msgspec.json.decode(decoded)
        json.loads(decoded, object_pairs_hook=_unique)
    except msgspec.DecodeError as error:
        raise BundleError([_malformed(decoded, file, str(error))]) from None
    except RecursionError:
        raise BundleError([Finding(file=file, message=_TOO_DEEP, code="syntax")]) from None
    except _DuplicateKeyError:
        raise BundleError(_duplicates(decoded, file)) from None
    return value


class _DuplicateKeyError(Exception):
    """Some object names a key twice."""


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _DuplicateKeyError


def _malformed(text: str, file: str, problem: str) -> Finding:
    offset = _OFFSET.search(problem)
    # msgspec counts bytes.
    line = text.encode()[: int(offset[1])].count(b"\n") + 1 if offset else 0
    words = _OFFSET.sub("", problem).removeprefix("JSON is malformed: ").partition(" - at `")[0]
    return Finding(file=file, line=line, message=f"not valid JSON: {words[:1].lower()}{words[1:]}", code="syntax")


def _duplicates(text: str, file: str) -> Iterator[Finding]:
    """Where valid JSON repeats a key: read once more, token by token."""
    objects: list[dict[str, int] | None] = []  # per open bracket the keys so far, None for a list
    last, end = "", 0
    for token in _JSON_TOKEN.finditer(text):
        mark = token[0]
        if mark in "{[":
            objects.append({} if mark == "{" else None)
        elif mark in "}]":
            objects.pop()
        elif mark == ":" and (keys := objects[-1]) is not None:
            key, line = json.loads(last), text.count("\n", 0, end) + 1
            if key in keys:
                message = f"key `{shorten(key)}` is already set in line {keys[key]}: remove one"
                yield Finding(file=file, line=line, message=message, code="syntax")
            keys.setdefault(key, line)
        else:
            last, end = mark, token.start()


def _check_caps(value: object, file: str) -> None:
    """Depth, number of values and size of numbers."""
    level: Iterable[object] = (value,)
    nodes = depth = 0
    while True:
        below: list[dict[str, object] | list[object]] = []
        before = nodes
        for item in level:
            nodes += 1
            if isinstance(item, dict | list):
                below.append(item)
            elif isinstance(item, int) and not -INT_LIMIT <= item < INT_LIMIT:
                message = f"number `{shorten(str(item))}` is too large: quote it to make it text"
                raise BundleError([Finding(file=file, message=message, code="syntax")])
        if nodes == before:
            break
        level = (member for around in below for member in (around.values() if isinstance(around, dict) else around))
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise BundleError([Finding(file=file, message=_TOO_DEEP, code="syntax")])
    if nodes > MAX_NODES:
        raise BundleError(
            [Finding(file=file, message=f"the file has more than {MAX_NODES} values: split it", code="syntax")]
        )
