"""Whether a condition can be true, by trying every value that makes a difference.

A text that is only compared with constants is one of them or some other text; a number is one of them, or lies between
two. So few values stand for all, and each combination of them is one case.
Rule 1: what is not known may be anything; with too many cases everything may be.
Rule 2: errors count as CEL counts them: `false && error` is false, `true || error` is true.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise, product
from typing import Final, TypeGuard

from extauthz.policy.reach.facts import Fact, Facts
from extauthz.policy.reach.formula import (
    All,
    Atom,
    Choice,
    Compared,
    Fixed,
    Formula,
    Listed,
    Member,
    Not,
    Scalar,
    Some,
    Term,
    Tested,
    Truth,
    atoms,
)

MAX_CASES: Final = 4096
# The results that are possible in a case, as bits.
TRUE, FALSE, ERROR = 1, 2, 4
_ANY: Final = TRUE | FALSE


class _Other:
    """A value that is none of those named: `text` if it is at least known to be a text."""

    def __init__(self, *, text: bool) -> None:
        self.text = text


_SOME_TEXT: Final = _Other(text=True)
_SOMETHING: Final = _Other(text=False)
_ERRS: Final = object()
Value = Scalar | _Other | object
Case = Mapping[Term, Value]


def possible_results(formula: Formula, facts: Facts) -> int:
    """TRUE, FALSE and ERROR as far as each is possible."""
    domains = _domains(formula, facts)
    while _product(domains) > MAX_CASES:
        del domains[max(domains, key=lambda term: len(domains[term]))]
    found = 0
    for values in product(*domains.values()):
        case = dict(zip(domains, values, strict=True))
        if _holds_lists(formula, case, facts):
            found |= _results(formula, case)
    return found


def _product(domains: Mapping[Term, list[Value]]) -> int:
    cases = 1
    for values in domains.values():
        cases *= len(values)
    return cases


def _domains(formula: Formula, facts: Facts) -> dict[Term, list[Value]]:
    constants: dict[Term, list[Scalar]] = {}
    for atom in atoms(formula):
        mentioned = constants.setdefault(atom.term, [])
        match atom:
            case Compared(value=value):
                mentioned.append(value)
            case Listed(values=values):
                mentioned.extend(values)
            case Tested(function="startsWith" | "endsWith", value=value):
                mentioned.append(value)
    domains: dict[Term, list[Value]] = {}
    for term, found in constants.items():
        domains[term] = [*_values(term, found, facts.get(term.name, ())), _ERRS]
    for atom in atoms(formula):
        if isinstance(atom, Member):
            domains[atom.term] = [*_membership(atom, facts.get(atom.container, ())), _ERRS]
    return domains


def _values(term: Term, constants: list[Scalar], facts: tuple[Fact, ...]) -> Iterator[Value]:
    """The values that make a difference to the term's comparisons."""
    if term.kind == "truth":
        yield from (True, False)
        return
    if term.kind in {"text", "any"}:
        texts = {value for value in constants if isinstance(value, str)}.union(*(fact.values for fact in facts))
        yield from (text for text in sorted(texts) if all(fact.allows(text) for fact in facts))
        if not any(fact.closed for fact in facts):
            yield _SOME_TEXT
    if term.kind == "any" or term.kind in {"int", "float"}:
        numbers = sorted({value for value in constants if _is_number(value)})
        yield from _numbers(numbers, whole=term.kind == "int")
    if term.kind == "any":
        yield from (True, False, None, _SOMETHING)


def _numbers(constants: list[int | float], *, whole: bool) -> Iterator[Value]:
    """The constants, a number below, one above, and one between each two if there is one."""
    if not constants:
        yield 0
        return
    yield constants[0] - 1
    yield from constants
    yield constants[-1] + 1
    for low, high in pairwise(constants):
        if not whole:
            yield (low + high) / 2
        elif high - low > 1:
            yield low + 1


def _membership(atom: Member, facts: tuple[Fact, ...]) -> list[Value]:
    """Whether the constant can be in the list, and can be missing."""
    excluded = isinstance(atom.value, str) and any(fact.negative and not fact.allows(atom.value) for fact in facts)
    return [False] if excluded else [True, False]


def _holds_lists(formula: Formula, case: Case, facts: Facts) -> bool:
    """Whether a list that must hold one of some values does, as far as the condition asks about all of them."""
    asked: dict[str, dict[Scalar, Value]] = {}
    for atom in atoms(formula):
        if isinstance(atom, Member) and atom.term in case:
            asked.setdefault(atom.container, {})[atom.value] = case[atom.term]
    for container, answers in asked.items():
        for fact in facts.get(container, ()):
            if fact.closed and fact.values <= answers.keys() and all(answers[value] is False for value in fact.values):
                return False
    return True


def _results(formula: Formula, case: Case) -> int:
    match formula:
        case Fixed(value):
            return ERROR if value is None else TRUE if value else FALSE
        case All(parts):
            return _combine([_results(part, case) for part in parts], FALSE, TRUE)
        case Some(parts):
            return _combine([_results(part, case) for part in parts], TRUE, FALSE)
        case Not(part):
            found = _results(part, case)
            return (found & ERROR) | (FALSE if found & TRUE else 0) | (TRUE if found & FALSE else 0)
        case Choice(test, then, otherwise):
            found = _results(test, case)
            return (
                (found & ERROR)
                | (_results(then, case) if found & TRUE else 0)
                | (_results(otherwise, case) if found & FALSE else 0)
            )
        case Compared() | Listed() | Tested() | Member() | Truth():
            return _atom(formula, case)


def _combine(parts: list[int], decides: int, neutral: int) -> int:
    """`&&` with FALSE, `||` with TRUE as what decides: one part that is so is enough, an error counts only without."""
    results = neutral
    for part in parts:
        merged = 0
        for one in (TRUE, FALSE, ERROR):
            for other in (TRUE, FALSE, ERROR):
                if results & one and part & other:
                    merged |= decides if decides in {one, other} else ERROR if ERROR in {one, other} else neutral
        results = merged
    return results


def _atom(atom: Atom, case: Case) -> int:
    if atom.term not in case:
        return _ANY | ERROR
    value = case[atom.term]
    if value is _ERRS:
        return ERROR
    match atom:
        case Truth() | Member():
            return TRUE if value is True else FALSE
        case Compared(operator=operator, value=constant):
            return _compare(operator, value, constant)
        case Listed(values=constants):
            return TRUE if any(_equal(value, constant) for constant in constants) else FALSE
        case Tested(function=function, value=constant):
            return _TESTS[function](value, constant)


def _compare(operator: str, value: Value, constant: Scalar) -> int:
    if operator in {"==", "!="}:
        return TRUE if _equal(value, constant) == (operator == "==") else FALSE
    if isinstance(value, _Other):
        return _ANY if value.text and isinstance(constant, str) else ERROR  # lists and maps have no order
    if isinstance(value, str) and isinstance(constant, str):
        return TRUE if _ORDERED[operator](value, constant) else FALSE
    if _is_number(value) and _is_number(constant):
        return TRUE if _ORDERED[operator](value, constant) else FALSE
    return _ANY | ERROR if type(value) is type(constant) else ERROR


_ORDERED: Final[dict[str, Callable[..., bool]]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _test(holds: Callable[[str, str], bool]) -> Callable[[Value, str], int]:
    def results(value: Value, constant: str) -> int:
        if not isinstance(value, str):
            return _ANY | ERROR
        return TRUE if holds(value, constant) else FALSE

    return results


_TESTS: Final = {
    "startsWith": _test(str.startswith),
    "endsWith": _test(str.endswith),
    "contains": _test(lambda value, constant: constant in value),
}


def _equal(value: Value, constant: Scalar) -> bool:
    """CEL's equality of values of any type: numbers compare across types, truth values are no numbers."""
    if _is_number(value) and _is_number(constant):
        return value == constant
    return type(value) is type(constant) and value == constant


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
