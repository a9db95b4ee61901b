"""What can be taken out of `from`, `to` and `when` of a rule: an alternative, a field, a value."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle.change import Operator
from extauthz.model.problems import Location
from extauthz.policy.document import OperationSpec, RuleSpec, SourceSpec

_HOSTS_AND_PATHS: Final = frozenset({"hosts", "paths", "not_hosts", "not_paths"})


class Element(Struct, frozen=True):
    """One element, and the rule without it. `{who}` and `{does}` in `kill` stand for the rule and its effect."""

    operator: Operator
    location: Location  # within the rule
    what: str
    kill: str
    rule: RuleSpec
    is_hosts_or_paths: bool = False  # whether profiles may keep everybody from seeing the difference
    issuers: frozenset[str] = frozenset()  # those that would no longer be asked for


def source_elements(rule: RuleSpec) -> Iterator[Element]:
    """Elements of `from`."""
    yield from _alternatives(rule, "from_", "drop-from", "a caller whom", SourceSpec)


def operation_elements(rule: RuleSpec) -> Iterator[Element]:
    """Elements of `to`."""
    yield from _alternatives(rule, "to", "drop-to", "a request that", OperationSpec)


def when_elements(rule: RuleSpec) -> Iterator[Element]:
    """Entries of `when`, and their values."""
    for at, entry in enumerate(rule.when or ()):
        whens = rule.when or ()
        left = whens[:at] + whens[at + 1 :]
        yield Element(
            "drop-when",
            ("when", at),
            f"`{entry.key}` is dropped from `when`",
            f"a case of {{who}} in which only `{entry.key}` is not as `when` wants it",
            replace(rule, when=left or None),
        )
        for field, written in (("values", "values"), ("not_values", "notValues")):
            values: tuple[str, ...] = getattr(entry, field) or ()
            for place, value in enumerate(values if len(values) > 1 else ()):
                changed = replace(entry, **{field: values[:place] + values[place + 1 :]})
                yield Element(
                    "drop-value",
                    ("when", at, written, place),
                    f"`{value}` is dropped from `{written}` of `{entry.key}`",
                    f"a case of {{who}} with `{value}` as `{entry.key}`",
                    replace(rule, when=(*whens[:at], changed, *whens[at + 1 :])),
                )


def _alternatives(
    rule: RuleSpec, name: str, operator: Operator, who: str, struct: type[SourceSpec] | type[OperationSpec]
) -> Iterator[Element]:
    entries: tuple[Any, ...] = getattr(rule, name) or ()
    written = name.rstrip("_")
    fields = [(field.name, field.encode_name) for field in msgspec.structs.fields(struct)]
    for at, entry in enumerate(entries):
        given = [(field, encoded) for field, encoded in fields if getattr(entry, field) is not None]
        if len(entries) > 1:
            left = replace(rule, **{name: entries[:at] + entries[at + 1 :]})
            kill = f"a case that {{who}} {{does}} by `{written}[{at}]` alone"
            yield Element(operator, (written, at), f"`{written}[{at}]` is dropped", kill, left)
        elif len(given) > 1:
            kill = f"a case of {who} `{written}` does not name, which everything else of {{who}} covers"
            yield Element(
                operator,
                (written,),
                f"`{written}` is dropped",
                kill,
                replace(rule, **{name: None}),
                is_hosts_or_paths=name == "to",
            )
        for field, encoded in given:
            yield from _field(rule, name, at, entry, field, encoded, alone=len(given) == 1)


def _field(
    rule: RuleSpec,
    name: str,
    at: int,
    entry: Any,  # noqa: ANN401 - SourceSpec or OperationSpec
    field: str,
    encoded: str,
    *,
    alone: bool,
) -> Iterator[Element]:
    written = f"{name.rstrip('_')}[{at}].{encoded}"
    place: Location = (name.rstrip("_"), at, encoded)
    seen = field in _HOSTS_AND_PATHS

    def without(changed: Any) -> RuleSpec:  # noqa: ANN401
        entries: tuple[Any, ...] = getattr(rule, name)
        return replace(rule, **{name: (*entries[:at], changed, *entries[at + 1 :])})

    values: tuple[str | int, ...] = getattr(entry, field)
    shown = ", ".join(map(str, values))
    if alone and len(getattr(rule, name)) == 1:
        wide = replace(rule, **{name: None})
    else:
        wide = without(replace(entry, **{field: None}))
    kill = f"a case in which everything of {{who}} holds but `{encoded}: {shown}`"
    issuers = frozenset(map(str, values)) if field == "issuers" else frozenset[str]()
    yield Element("drop-field", place, f"`{written}` is dropped", kill, wide, seen, issuers)
    for index, value in enumerate(values if len(values) > 1 else ()):
        left = without(replace(entry, **{field: values[:index] + values[index + 1 :]}))
        kill = f"a case that {{who}} {{does}} for `{value}` alone of `{encoded}`"
        if field.startswith("not_"):
            kill = f"a case of {{who}} that only `{value}` in `{encoded}` keeps out"
        widens = seen and field.startswith("not_")
        yield Element("drop-value", (*place, index), f"`{value}` is dropped from `{written}`", kill, left, widens)
