"""All entries of `when` of one rule, as entries of ours and expressions."""

from collections.abc import Sequence

from extauthz.mesh.api import Condition
from extauthz.mesh.conditions import Sign, our_key, translator
from extauthz.mesh.context import MORE, Context, Numbered, leaves_out, read_field
from extauthz.mesh.documents import unknown_fields
from extauthz.mesh.identities import principals
from extauthz.model.problems import Location

Said = tuple[dict[str, object], list[str]]


def from_conditions(
    conditions: Sequence[Condition], location: Location, context: Context
) -> tuple[list[dict[str, object]], tuple[str, ...]] | None:
    """Entries of our `when` and expressions; None when the rule is left out, or matches nothing."""
    entries: list[dict[str, object]] = []
    cel: list[str] = []
    for at, condition in enumerate(conditions):
        place = (*location, at)
        unknown = unknown_fields(context.document.raw(place), Condition)
        if leaves_out(unknown, place, context):
            return None
        if unknown:
            continue  # a deny: without the whole entry it denies more
        found = _condition(condition, place, context)
        if found is None:
            return None
        entry, expressions = found
        if len(entry) > 1:
            entries.append(entry)
        cel += expressions
    return entries, tuple(cel)


def _condition(condition: Condition, place: Location, context: Context) -> Said | None:
    entry: dict[str, object] = {"key": our_key(condition.key)}
    cel: list[str] = []
    signs: tuple[tuple[Sign, list[str] | None], ...] = (
        ("values", condition.values),
        ("notValues", condition.not_values),
    )
    for sign, values in signs:
        if not values:
            continue
        numbered = _read_condition(condition.key, values, sign, context)
        if numbered is None:
            context.lose(
                (*place, "key"),
                f"`{condition.key}` is not known to extauthz; {MORE if context.denies else 'the rule is left out'}",
                _instead_of_key(condition.key),
                denial=context.denies,
            )
            if context.denies:
                continue
            return None
        field = read_field(numbered, (*place, sign), context, negated=sign == "notValues")
        if field is None or field.never:
            return None
        if field.native:
            entry[sign] = list(field.native)
        if field.cel:
            cel.append(field.cel)
    return entry, cel


def _instead_of_key(key: str) -> str:
    if key.startswith("experimental."):
        return "compare the token's claims or a header instead of another filter's metadata"
    return "write the rule by hand, with another attribute or a `condition`"


def _read_condition(key: str, values: list[str], sign: Sign, context: Context) -> Numbered | None:
    if key == "source.principal":
        return principals(values, context.trust_domains)
    translate = translator(key, context.words, context.issuers, denies=context.denies, sign=sign)
    return None if translate is None else [(at, translate(value)) for at, value in enumerate(values)]
