"""What is wrong with an expression, in words that name the place and what would be right."""

import re
from difflib import get_close_matches
from typing import Final, Literal

from msgspec import Struct

from extauthz.model.codes import Code

_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_OPERATOR = re.compile(r"_?([^A-Za-z_@]+)_?")


class Flaw(Struct, frozen=True):
    """What is wrong with an expression."""

    message: str
    severity: Literal["error", "warning"] = "error"
    code: Code = "condition-syntax"


TOO_DEEP: Final = Flaw("nested too deeply: split it into several rules")


def compile_flaws(text: str, error: str, names: frozenset[str]) -> tuple[Flaw, ...]:
    """One flaw for each error that CEL reports, with its place in the text; `names` are the declared ones."""
    found = list(dict.fromkeys(_ERROR.findall(error)))
    if not found:
        return (TOO_DEEP,)
    return tuple(dict.fromkeys(_flaw(text, int(line), int(column), words, names) for line, column, words in found))


def _flaw(text: str, line: int, column: int, words: str, names: frozenset[str]) -> Flaw:
    written = text.split("\n")[line - 1] if line > 0 else ""
    place = ""
    if match := _UNDECLARED.match(words):
        # CEL points at the last dot of a name, or at the bracket of a call.
        is_call = written[column - 1 : column] == "("
        column = written.rfind(match[1], 0, column - 1 + len(match[1])) + 1 or column
        words = f"unknown function `{match[1]}`" if is_call else _unknown_name(match[1], names)
    else:
        words = _explain(words)
    if line > 0:
        place = f"line {line} column {column}: " if "\n" in text.strip() else f"column {column}: "
    return Flaw(place + words)


def _explain(words: str) -> str:
    if match := _OVERLOAD.match(words):
        operator = _OPERATOR.fullmatch(match[1])
        return f"`{operator[1] if operator else match[1].strip('@')}` does not apply to ({match[2]})"
    if "recursion" in words:
        return TOO_DEEP.message
    words = words.partition(" expecting {")[0].replace("'", "`")
    return words[:1].lower() + words[1:]


def _unknown_name(name: str, names: frozenset[str]) -> str:
    if name == "data" or name.startswith("data."):
        wanted = ".".join(name.split(".")[:2])
        known = sorted(found for found in names if found.startswith("data."))
        if not known:
            return f"unknown name `{wanted}`: the bundle has no data file that conditions can read"
    else:
        wanted, known = name, sorted(names)
    root = wanted.partition(".")[0] + "."
    siblings = {name.removeprefix(root): name for name in known if name.startswith(root)}
    near = get_close_matches(wanted.removeprefix(root), siblings, n=1) if siblings else []
    near = [siblings[tail] for tail in near] or ([] if siblings else get_close_matches(wanted, known, n=1))
    if near:
        return f"unknown name `{wanted}`, did you mean `{near[0]}`?"
    if siblings:
        return f"unknown name `{wanted}`: there are {', '.join(f'`{name}`' for name in sorted(siblings.values()))}"
    return f"unknown name `{wanted}`: a text is written in quotes, as in `'gold'`"
