"""CEL conditions: type-checked at load against the names of `variables`, total when evaluated.

Rule 1: an evaluation that errs, or reads what has more than one reading, is FAILED and never a guess.
Rule 2: identical texts are compiled once.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, Final, Literal

from cel.expr import checked_pb2
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from google.protobuf import any_pb2, message
from msgspec import Struct

from extauthz.policy import lookups
from extauthz.policy.asked import Asked, within_int64
from extauthz.policy.header_names import spelling_flaw
from extauthz.policy.variables import UNREADABLE, VARIABLES, Getter, getter

FAILED: Final = object()
MAX_LENGTH = 4096  # characters; longer ones belong into data
BIG_DATA = 200  # entries: above, handing over a whole file at each evaluation costs more than the rest of a check

_DATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# T-28, T-07: what is missed when the names are not known.
_UNSEEN: Final = {
    "request.headers": "so that their spellings with `_` for `-` reach upstreams",
    "request.query": "so that other spellings of them, as `Tenant` for `tenant`, count as other parameters",
}
_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_OPERATOR = re.compile(r"_?([^A-Za-z_@]+)_?")


class Program(Struct, frozen=True, gc=False):
    """A compiled expression."""

    text: str
    evaluate: Callable[..., Any]  # cel.Expression.eval
    reads: tuple[tuple[str, Getter], ...]
    http: bool  # reads what a connection without HTTP does not have
    params: frozenset[str] | None  # captures that are read; None: computed names
    claims: bool  # reads the token's claims
    headers: frozenset[str] = frozenset()  # request headers that are read by constant names, in lower case

    def value(self, asked: Asked) -> object:
        """The result as a Python value, or FAILED."""
        data = {}
        for name, get in self.reads:
            value = get(asked)
            if value is UNREADABLE:
                return FAILED
            data[name] = value
        # CEL reports most errors as a value of type ERROR, but raises for what it cannot convert.
        try:
            result = self.evaluate(data=data)
            return FAILED if result.type() == cel.Type.ERROR else result.plain_value()
        except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError):
            return FAILED


class Flaw(Struct, frozen=True):
    """What is wrong with an expression."""

    message: str
    severity: Literal["error", "warning"] = "error"


Compiled = tuple[Program | None, tuple[Flaw, ...]]


class Conditions:
    """Compiles the expressions of one bundle against its data files."""

    def __init__(self, data: Mapping[str, object]) -> None:
        """`data` by file name; it must not change any more."""
        self._data = {f"data.{name}": value for name, value in data.items() if _DATA_NAME.fullmatch(name)}
        types = {name: variable.type for name, variable in VARIABLES.items()}
        types |= dict.fromkeys(self._data, cel.Type.DYN)
        self._names = frozenset(types)
        self._env = cel.NewEnv(
            variables=types,
            extensions=[ext_strings.ExtStrings()],
            functions=[
                _function(lookups.GET, cel.Type.DYN, partial(lookups.get, data)),
                _function(lookups.HAS, cel.Type.BOOL, partial(lookups.has, data)),
                _function(lookups.IN, cel.Type.BOOL, partial(lookups.member, data)),
            ],
        )
        self._compiled: dict[str, tuple[Compiled, str]] = {}

    def condition(self, text: str) -> Compiled:
        """Compile an expression that must be true or false."""
        (program, flaws), type_name = self._compile(text)
        if program is not None and type_name != "BOOL":
            anything = "this may be of any type: compare it, as in `… == true`"
            what = anything if type_name == "DYN" else f"this is of type {type_name.lower()}"
            return None, (Flaw(f"a condition must be true or false, {what}"),)
        return program, flaws

    def expression(self, text: str) -> tuple[Program | None, tuple[Flaw, ...], str]:
        """Compile any expression; also the name of its type."""
        (program, flaws), type_name = self._compile(text)
        return program, flaws, type_name

    def _compile(self, text: str) -> tuple[Compiled, str]:
        if text not in self._compiled:
            self._compiled[text] = self._compile_new(text)
        return self._compiled[text]

    def _compile_new(self, text: str) -> tuple[Compiled, str]:
        if len(text) > MAX_LENGTH:
            return (None, (Flaw(f"longer than {MAX_LENGTH} characters: put lists into a data file"),)), ""
        try:
            expression = self._env.compile(text)
            checked = checked_pb2.CheckedExpr.FromString(any_pb2.Any.FromString(expression.serialize()).value)
        except (RuntimeError, ValueError) as error:
            return (None, self._flaws(text, str(error))), ""
        except message.DecodeError:
            return (None, (Flaw("nested too deeply: split it into several rules"),)), ""
        usage = lookups.rewrite(checked, self._names)
        if usage.loops > lookups.MAX_LOOPS:
            flaw = Flaw(f"loops are nested {usage.loops} deep, at most {lookups.MAX_LOOPS} are possible")
            return (None, (flaw,)), ""
        packed = any_pb2.Any(type_url="type.googleapis.com/cel.expr.CheckedExpr", value=checked.SerializeToString())
        rewritten = self._env.deserialize(packed.SerializeToString())
        return (self._program(text, rewritten, usage), self._warnings(usage)), expression.return_type().name()

    def _program(self, text: str, expression: Any, usage: lookups.Usage) -> Program:  # noqa: ANN401 - cel.Expression
        reads = tuple(
            (name, partial(_whole, self._data[name]) if name in self._data else getter(name, keys))
            for name, keys in sorted(usage.keys.items(), key=lambda read: read[0])
        )
        params = usage.keys.get("params", set())
        return Program(
            text=text,
            evaluate=expression.eval,
            reads=reads,
            http=any(name in VARIABLES and VARIABLES[name].http for name in usage.keys),
            params=None if params is None else frozenset(params),
            claims="subject.claims" in usage.keys,
            headers=frozenset(usage.keys.get("request.headers") or ()),
        )

    def _warnings(self, usage: lookups.Usage) -> tuple[Flaw, ...]:
        flaws = [
            Flaw(f"`{name}` is read as a whole or by computed names, {_UNSEEN[name]}: name what is read", "warning")
            for name in sorted(usage.keys.keys() & _UNSEEN.keys())
            if usage.keys[name] is None
        ]
        told = (spelling_flaw(name) for name in sorted(usage.keys.get("request.headers") or ()))
        flaws += [Flaw(flaw, "warning") for flaw in told if flaw]
        for name in sorted(usage.keys.keys() & self._data.keys()):
            value = self._data[name]
            size = len(value) if isinstance(value, dict | list) else 1
            if not within_int64(value):
                flaws.append(Flaw(f"`{name}` holds an integer beyond 64 bits and is used as a whole"))
            elif size > BIG_DATA:
                flaws.append(
                    Flaw(
                        f"`{name}` has {size} entries and is copied at each evaluation: "
                        f"look entries up by key, as in `{name}[key]` or `key in {name}`",
                        "warning",
                    )
                )
        return tuple(flaws)

    def _flaws(self, text: str, error: str) -> tuple[Flaw, ...]:
        """One flaw for each error that CEL reports, with its place in the text."""
        found = list(dict.fromkeys(_ERROR.findall(error)))
        if not found:
            return (Flaw("nested too deeply: split it into several rules"),)
        return tuple(dict.fromkeys(self._flaw(text, int(line), int(column), words) for line, column, words in found))

    def _flaw(self, text: str, line: int, column: int, words: str) -> Flaw:
        written = text.split("\n")[line - 1] if line > 0 else ""
        place = ""
        if match := _UNDECLARED.match(words):
            # CEL points at the last dot of a name, or at the bracket of a call.
            is_call = written[column - 1 : column] == "("
            column = written.rfind(match[1], 0, column - 1 + len(match[1])) + 1 or column
            words = f"unknown function `{match[1]}`" if is_call else self._unknown_name(match[1])
        else:
            words = self._explain(words)
        if line > 0:
            place = f"line {line} column {column}: " if "\n" in text.strip() else f"column {column}: "
        return Flaw(place + words)

    def _explain(self, words: str) -> str:
        if match := _OVERLOAD.match(words):
            operator = _OPERATOR.fullmatch(match[1])
            return f"`{operator[1] if operator else match[1].strip('@')}` does not apply to ({match[2]})"
        if "recursion" in words:
            return "nested too deeply: split it into several rules"
        words = words.partition(" expecting {")[0].replace("'", "`")
        return words[:1].lower() + words[1:]

    def _unknown_name(self, name: str) -> str:
        if name == "data" or name.startswith("data."):
            wanted = ".".join(name.split(".")[:2])
            known = sorted(self._data)
            if not known:
                return f"unknown name `{wanted}`: the bundle has no data file that conditions can read"
        else:
            wanted, known = name, sorted(self._names)
        root = wanted.partition(".")[0] + "."
        siblings = {name.removeprefix(root): name for name in known if name.startswith(root)}
        near = get_close_matches(wanted.removeprefix(root), siblings, n=1) if siblings else []
        near = [siblings[tail] for tail in near] or ([] if siblings else get_close_matches(wanted, known, n=1))
        if near:
            return f"unknown name `{wanted}`, did you mean `{near[0]}`?"
        if siblings:
            return f"unknown name `{wanted}`: there are {', '.join(f'`{name}`' for name in sorted(siblings.values()))}"
        return f"unknown name `{wanted}`: a text is written in quotes, as in `'gold'`"


def _function(name: str, result: Any, call: Callable[..., object]) -> Any:  # noqa: ANN401 - cel.Type, cel.FunctionDecl
    # One parameter for the whole path: CEL's runtime does not match parameters of type DYN.
    parameters = [cel.Type.STRING, cel.Type.List(cel.Type.DYN)]
    return cel.FunctionDecl(name, [cel.Overload(name, result, parameters, is_member=False, impl=call)])


def _whole(value: object, asked: Asked) -> object:  # noqa: ARG001 - a Getter
    return value
