"""What depends on nothing but `now`: CEL's evaluator computes it once a second, time zones and calendars included."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from extauthz.policy.lowering.nodes import Frame, Kind, Lowered
from extauthz.policy.lowering.times import GETTERS

NOW: Final = "now"
# The parts that are computed so, by what they end in: their results are numbers and truth values.
_RESULTS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_", "_==_", "_!=_", "@in", "_&&_", "_||_", "!_"), "bool"),
    **dict.fromkeys((*GETTERS, "int"), "int"),
}


def kind_by_clock(node: Any, names: Mapping[int, str]) -> Kind | None:
    """The kind of a part that reads `now` and nothing else; None for any other part."""
    kind = _RESULTS.get(node.call_expr.function)
    if kind is None:
        return None
    found = set(_names(node, names))
    return kind if found == {NOW} else None


def _names(node: Any, names: Mapping[int, str]) -> Iterator[str]:
    """The variables that a part reads; "" for all that is no call, literal or variable."""
    match node.WhichOneof("expr_kind"):
        case "const_expr":
            return
        case "ident_expr":
            yield names.get(node.id, "") if node.ident_expr.name == NOW else ""
        case "list_expr":
            for element in node.list_expr.elements:
                yield from _names(element, names)
        case "call_expr":
            if node.call_expr.HasField("target"):
                yield from _names(node.call_expr.target, names)
            for argument in node.call_expr.args:
                yield from _names(argument, names)
        case _:
            yield ""


def of_the_second(compute: Callable[[Any], Any], slot: int, kind: Kind) -> Lowered:
    """`compute(now)`, remembered for as long as `now` stays. It raises as closures do, and that is not remembered."""
    last: tuple[object, Any] = (None, None)

    def run(frame: Frame) -> Any:
        nonlocal last
        now = frame[slot]
        seen, value = last
        if seen != now:
            value = compute(now)
            last = (now, value)
        return value

    return Lowered(run, kind)
