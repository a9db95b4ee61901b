"""A compiled expression: run as closures where it was lowered, else by CEL's own evaluator.

Rule 1: an evaluation that errs, or reads what has more than one reading, is FAILED and never a guess.
Rule 2: only what an expression names is read, all of it first: what is unreadable fails it on every path.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from sys import maxsize
from typing import Any, Final

from cel_expr_python import cel
from msgspec import Struct

from extauthz.policy import lookups
from extauthz.policy.asked import Asked
from extauthz.policy.claims import ABSENT
from extauthz.policy.lowering import ALLOWANCE, BeyondError, Expression, FailedError, SpentError, result
from extauthz.policy.readers import Reader, UnreadableError
from extauthz.policy.variables import for_cel

FAILED: Final = object()
MAX_COLLECTED: Final = 200  # elements: `map` and `filter` take 1 ms for 200 in CEL's evaluator, 3 s for 5,000
MAX_SPLIT: Final = 1_000  # characters
Evaluate = Callable[[Asked], object]
Read = tuple[str, str | None, Reader]  # variable, key (None: all of it), and how it is read

# What CEL's binding raises, too; a closure raises the others of these only if it is at fault, and fails closed.
_ERRORS: Final = (
    LookupError,
    UnreadableError,
    SpentError,
    RuntimeError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
)
_COUNTS: Final = 2  # of loops, before their variables in the frame
# Kinds of results that Python sees as they are.
_PLAIN: Final = frozenset(("bool", "int", "double", "string"))


class Program(Struct, frozen=True, gc=False):
    """A compiled expression."""

    text: str
    value: Evaluate  # the result as a Python value, or FAILED
    by_cel: Evaluate  # the same by CEL's own evaluator
    slow: str  # why CEL's own evaluator is asked at every evaluation, "" when it is not
    http: bool  # reads what a connection without HTTP does not have
    params: frozenset[str] | None  # captures that are read; None: computed names
    claims: frozenset[str] | None  # claims of the token that are read; None: computed names, or all
    headers: frozenset[str] = frozenset()  # request headers that are read by constant names, in lower case
    reads: tuple[tuple[str, str | None], ...] = ()  # every variable that is read, and its key; None: all of it
    loose: frozenset[tuple[str, str | None]] = frozenset()  # of these whose value is more than compared (see `exact`)
    direct: bool = False  # one read and nothing else
    texts: frozenset[str] = frozenset()  # that are written in it


def by_cel(
    evaluate: Callable[..., Any],
    reads: Sequence[Read],
    files: Callable[[Asked], Mapping[str, object]],
    whole: Collection[str],
    limits: tuple[int, int] | None = None,
) -> Evaluate:
    """Evaluation by CEL (`cel.Expression.eval`); `files` are looked up in, and those in `whole` are handed over.

    `limits`, if any: on the length of lists and of texts that are read.
    """

    def value(asked: Asked) -> object:
        known = files(asked)
        given: dict[str, Any] = {f"data.{name}": known[name] for name in whole}
        lookups.FILES.set(known)  # for the functions that CEL calls back
        # CEL reports most errors as a value of type ERROR, but raises for what it cannot convert.
        try:
            for name, key, read in reads:
                found = read(asked)
                if limits is not None and not _is_within(found, *limits):
                    return FAILED
                if key is None:
                    given[name] = for_cel(found)
                    continue
                keys = given.setdefault(name, {})
                if found is not ABSENT:
                    keys[key] = found
            return plain(evaluate(data=given))
        except _ERRORS:
            return FAILED

    return value


def plain(outcome: Any) -> object:  # noqa: ANN401 - cel.Value
    """A result as a Python value, or FAILED.

    Not by `plain_value` where a null may be in it: in cel-expr-python 0.1.3 each costs the process a reference to None
    that it does not own, and some thousand of them its life (`deallocating None`).
    """
    kind = outcome.type()
    if kind == cel.Type.ERROR:
        return FAILED
    if kind == cel.Type.NULL:
        return None
    name = kind.name()
    if name.startswith("LIST"):
        return [plain(member) for member in outcome.value()]
    if name.startswith("MAP"):
        return {key: plain(member) for key, member in outcome.value().items()}
    found: object = outcome.plain_value()
    return found


def limits_of(*, collects: bool, splits: bool) -> tuple[int, int] | None:
    """What keeps CEL's evaluator from copying a list at each of thousands of steps, for a request chose its length."""
    return (MAX_COLLECTED, MAX_SPLIT if splits else maxsize) if collects else None


def _is_within(value: Any, length: int, text: int) -> bool:  # noqa: ANN401 - any value of a variable
    kind = type(value)
    if kind is str:
        return len(value) <= text
    if kind is dict:
        return len(value) <= length and all(_is_within(member, length, text) for member in value.values())
    if kind is list or kind is tuple:
        return len(value) <= length and all(_is_within(member, length, text) for member in value)
    return True


def part_of_now(evaluate: Callable[..., Any]) -> Callable[[Any], object]:
    """Evaluation of a part that reads nothing but `now`, for `lowering`."""

    def value(now: Any) -> object:  # noqa: ANN401 - a Timestamp
        try:
            found = plain(evaluate(data={"now": for_cel(now)}))
        except RuntimeError:
            raise BeyondError from None
        if found is FAILED:
            raise FailedError
        return found

    return value


def lowered(expression: Expression, readers: Sequence[Reader], otherwise: Evaluate, *, collects: bool) -> Evaluate:
    """Evaluation by closures, and by `otherwise` where only CEL can tell; `collects`: with `map` or `filter`."""
    frame = _frame(readers, [0, inf if collects else ALLOWANCE, *[None] * expression.variables])
    inner = expression.root.run
    run = inner if expression.root.kind in _PLAIN else lambda values: result(inner(values))

    def value(asked: Asked) -> object:
        try:
            return run(frame(asked))
        except _ERRORS:
            return FAILED
        except BeyondError:
            return otherwise(asked)

    return value


def _frame(readers: Sequence[Reader], more: list[Any]) -> Callable[[Asked], list[Any]]:
    """What makes the list that closures read: what the expression reads, then what its loops need, if it has any."""
    if len(more) > _COUNTS:
        if len(readers) == 1:
            (only,) = readers
            return lambda asked: [only(asked), *more]
        return lambda asked: [*[read(asked) for read in readers], *more]
    if len(readers) == 1:
        (only,) = readers
        return lambda asked: [only(asked)]
    if len(readers) == 2:  # noqa: PLR2004
        first, second = readers
        return lambda asked: [first(asked), second(asked)]
    return lambda asked: [read(asked) for read in readers]
