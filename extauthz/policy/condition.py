"""CEL conditions: type-checked at load against the names of `variables`, total when evaluated.

Rule 1: identical texts are compiled once.
Rule 2: what `lowering` takes runs as closures; anything else is CEL's own evaluator's, the whole expression of it.
Rule 3: other data of the same names needs nothing compiled anew, unless something was compiled for what it lacks.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cel.expr import checked_pb2
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from google.protobuf import any_pb2, message

from extauthz.policy import lookups
from extauthz.policy.asked import Asked, within_int64
from extauthz.policy.exact import is_direct, loose_reads, texts_of
from extauthz.policy.facts import Facts
from extauthz.policy.flaws import TOO_DEEP, Flaw, compile_flaws
from extauthz.policy.header_names import spelling_flaw
from extauthz.policy.lowering import Data, Expression, NotLoweredError, Scope, lower
from extauthz.policy.program import FAILED, Program, Read, by_cel, limits_of, lowered, part_of_now, plain
from extauthz.policy.variables import VARIABLES

__all__ = ["FAILED", "MAX_LENGTH", "Conditions", "Flaw", "Program"]

MAX_LENGTH = 4096  # characters; longer ones belong into data
BIG_DATA = 200  # entries: above, handing over a whole file at each evaluation costs more than the rest of a check

_CHECKED_TYPE: Final = "type.googleapis.com/cel.expr.CheckedExpr"
_DATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# T-28, T-07: what is missed when the names are not known.
_UNSEEN = {
    "request.headers": "so that their spellings with `_` for `-` reach upstreams",
    "request.query": "so that other spellings of them, as `Tenant` for `tenant`, count as other parameters",
}

Compiled = tuple[Program | None, tuple[Flaw, ...]]


class Conditions:
    """Compiles the expressions of one bundle against its data files."""

    def __init__(self, data: Mapping[str, object]) -> None:
        """`data` by file name; it must not change any more."""
        self._files = data
        self._data = _variables(data)
        self._read = Data(self._data)
        self._whole: dict[str, tuple[Flaw, ...]] = {}  # files that are read as a whole, and what was said about that
        types = {name: variable.type for name, variable in VARIABLES.items()}
        types |= dict.fromkeys(self._data, cel.Type.DYN)
        self._names = frozenset(types)
        self._env = cel.NewEnv(
            variables=types,
            extensions=[ext_strings.ExtStrings()],
            functions=[
                _function(lookups.GET, cel.Type.DYN, lookups.get),
                _function(lookups.HAS, cel.Type.BOOL, lookups.has),
                _function(lookups.IN, cel.Type.BOOL, lookups.member),
            ],
        )
        self._compiled: dict[str, tuple[Compiled, str]] = {}

    def replace(self, data: Mapping[str, object]) -> bool:
        """Take other data, for what was compiled as for what will be; False when that needs everything compiled anew.

        After False this is of no use any more.
        """
        fresh = _variables(data)
        if data.keys() != self._files.keys() or not self._read.replace(fresh):
            return False
        if any(self._whole[name] != _whole_flaws(name, fresh[name]) for name in self._whole):
            return False
        self._files, self._data = data, fresh
        return True

    @property
    def count(self) -> int:
        """How many expressions are known."""
        return len(self._compiled)

    @property
    def facts(self) -> Facts:
        """The data, for all that is compiled by now."""
        return Facts(self._read, self._files, tuple(self._read.found))

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

    @property
    def names(self) -> frozenset[str]:
        """Every name that an expression may read."""
        return self._names

    def tree(self, text: str) -> Any:  # noqa: ANN401 - a cel.expr.CheckedExpr
        """The checked syntax tree of an expression, its lookups as they are written; None when it does not compile."""
        try:
            packed = any_pb2.Any.FromString(self._env.compile(text).serialize())
            return checked_pb2.CheckedExpr.FromString(packed.value)
        except (RuntimeError, ValueError, message.DecodeError):
            return None

    def constant(self, tree: Any, node: Any) -> object:  # noqa: ANN401 - as above, and a cel.expr.Expr of it
        """The value of a part of `tree` that reads nothing, or FAILED."""
        part = checked_pb2.CheckedExpr(reference_map=tree.reference_map, type_map=tree.type_map, expr=node)
        try:
            return plain(self._evaluator(part)(data={}))
        except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError):
            return FAILED

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
            return (None, compile_flaws(text, str(error), self._names)), ""
        except message.DecodeError:
            return (None, (TOO_DEEP,)), ""
        usage = lookups.rewrite(checked, self._names)
        if usage.loops > lookups.MAX_LOOPS:
            flaw = Flaw(f"loops are nested {usage.loops} deep, at most {lookups.MAX_LOOPS} are possible")
            return (None, (flaw,)), ""
        return (self._program(text, checked, usage), self._warnings(usage)), expression.return_type().name()

    def _program(self, text: str, checked: checked_pb2.CheckedExpr, usage: lookups.Usage) -> Program:
        reads: list[Read] = []
        for name, keys in sorted(usage.keys.items(), key=lambda read: read[0]):
            if (variable := VARIABLES.get(name)) is None:
                continue
            if keys is None or variable.keyed is None:
                reads.append((name, None, variable.read))
            else:
                reads.extend((name, key, variable.keyed(key)) for key in sorted(keys))
        whole = [name.removeprefix("data.") for name in usage.keys if name in self._data]
        limits = limits_of(collects=usage.collects, splits=usage.splits)
        slow, otherwise = "", by_cel(self._evaluator(checked), reads, self._files_of, whole, limits)
        value = otherwise
        try:
            expression = self._lower(checked, usage, reads)
            readers = [*(read for _, _, read in reads), *([_found(self._read)] if usage.reads_data else [])]
            value = lowered(expression, readers, otherwise, collects=usage.collects)
        except NotLoweredError as error:
            slow = str(error)
        params, claims = usage.keys.get("params", set()), usage.keys.get("subject.claims", set())
        return Program(
            text=text,
            value=value,
            by_cel=otherwise,
            slow=slow,
            http=any(name in VARIABLES and VARIABLES[name].http for name in usage.keys),
            params=None if params is None else frozenset(params),
            claims=None if claims is None else frozenset(claims),
            headers=frozenset(usage.keys.get("request.headers") or ()),
            reads=tuple((name, key) for name, key, _ in reads),
            loose=loose_reads(checked.expr, usage.names),
            direct=is_direct(checked.expr, usage.names),
            texts=texts_of(checked),
        )

    def _files_of(self, asked: Asked) -> Mapping[str, object]:
        """The data that a question is to be answered by."""
        facts = asked.facts
        return facts.files if facts.owner is self._read else self._files

    def _evaluator(self, checked: checked_pb2.CheckedExpr) -> Callable[..., Any]:
        packed = any_pb2.Any(type_url=_CHECKED_TYPE, value=checked.SerializeToString())
        evaluate: Callable[..., Any] = self._env.deserialize(packed.SerializeToString()).eval
        return evaluate

    def _lower(self, checked: checked_pb2.CheckedExpr, usage: lookups.Usage, reads: list[Read]) -> Expression:
        def at(node: Any) -> Callable[[Any], object]:  # noqa: ANN401 - cel.expr.Expr
            part = checked_pb2.CheckedExpr(expr=node)
            for id_, reference in checked.reference_map.items():
                part.reference_map[id_].CopyFrom(reference)
            return part_of_now(self._evaluator(part))

        slots = {}
        for number, (name, key, _) in enumerate(reads):
            variable = VARIABLES[name]
            slots[name, key] = (number, variable.kind if key is None else variable.key_kind)
        free = len(reads) + usage.reads_data
        scope = Scope(names=usage.names, slots=slots, data=self._read, facts=len(reads), part_of_now=at, free=free)
        return lower(checked.expr, scope)

    def _warnings(self, usage: lookups.Usage) -> tuple[Flaw, ...]:
        flaws = [
            Flaw(
                f"`{name}` is read as a whole or by computed names, {_UNSEEN[name]}: name what is read",
                "warning",
                "computed-names",
            )
            for name in sorted(usage.keys.keys() & _UNSEEN.keys())
            if usage.keys[name] is None
        ]
        told = (spelling_flaw(name) for name in sorted(usage.keys.get("request.headers") or ()))
        flaws += [Flaw(flaw, "warning", "header-spelling") for flaw in told if flaw]
        for name in sorted(usage.keys.keys() & self._data.keys()):
            if name not in self._whole:
                self._whole[name] = _whole_flaws(name, self._data[name])
            flaws += self._whole[name]
        return tuple(flaws)


def _variables(data: Mapping[str, object]) -> dict[str, object]:
    return {f"data.{name}": value for name, value in data.items() if _DATA_NAME.fullmatch(name)}


def _whole_flaws(name: str, value: object) -> tuple[Flaw, ...]:
    """What is to be said about a file that is read as a whole."""
    size = len(value) if isinstance(value, dict | list) else 1
    if not within_int64(value):
        return (Flaw(f"`{name}` holds an integer beyond 64 bits and is used as a whole"),)
    if size <= BIG_DATA:
        return ()
    message = (
        f"`{name}` has {size} entries and is read as a whole at each evaluation: "
        f"look entries up by key, as in `{name}[key]` or `key in {name}`"
    )
    return (Flaw(message, "warning", "large-data"),)


def _found(read: Data) -> Callable[[Asked], Sequence[Any]]:
    """What reads all that a question's data has at the places that expressions name."""

    def found(asked: Asked) -> Sequence[Any]:
        facts = asked.facts
        return facts.values if facts.owner is read else read.found

    return found


def _function(name: str, result: Any, call: Callable[..., object]) -> Any:  # noqa: ANN401 - cel.Type, cel.FunctionDecl
    # One parameter for the whole path: CEL's runtime does not match parameters of type DYN.
    parameters = [cel.Type.STRING, cel.Type.List(cel.Type.DYN)]
    return cel.FunctionDecl(name, [cel.Overload(name, result, parameters, is_member=False, impl=call)])
