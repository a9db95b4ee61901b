"""Policies over what a record has kept of a request, see `model.kept`: the same verdict as then, or none at all.

A text of which only a pseudonym is kept has a stand-in in the request: it equals nothing that the bundle names, and the
stand-ins of one value are equal. What the bundle names was found by its pseudonym before and stands there itself.
Rule: whatever would look at more of a stand-in than what it equals, or at what was not kept, raises NotKeptError.
"""

from collections.abc import Collection
from typing import Any, Final, NoReturn, Protocol

from msgspec.structs import astuple, replace

from extauthz.model.decision import Obligations
from extauthz.model.kept import CLAIMS, QUERY, query_name
from extauthz.policy.asked import Asked
from extauthz.policy.condition import Program
from extauthz.policy.evaluate import PolicySet
from extauthz.policy.keep import attribute_of, attribute_read
from extauthz.policy.matchers import TextSet
from extauthz.policy.obligations import Plan
from extauthz.policy.operations import Operation
from extauthz.policy.outcome import NO, YES, Outcome
from extauthz.policy.parts import AddressPart, Found, Part
from extauthz.policy.query import Query
from extauthz.policy.readers import UnreadableError
from extauthz.policy.rule import Rule
from extauthz.policy.sources import Source
from extauthz.policy.variables import VARIABLES

STAND_IN: Final = "\ue000"  # for private use: no request that we accept has it, and no bundle may
_MAX_JOINED: Final = 4096 // 513  # members of a list that surely fit into a header


class NotKeptError(Exception):
    """The record does not tell. `needs` is the attribute, or what else is missing."""

    def __init__(self, needs: str) -> None:
        """`needs` is bounded by the bundle that asks."""
        super().__init__(needs)
        self.needs = needs


class Past(Protocol):
    """What one record has. Every method raises NotKeptError for what it has not."""

    folded: dict[str, str]  # by stand-in of a segment: its case-folded form, where that is another
    # By attribute, of the addresses that the bundle which decided took for one: IP version, first and last.
    ranges: dict[str, tuple[int, int, int]]

    def need(self, attribute: str) -> None:
        """Whether an attribute beside headers, query and claims was kept."""
        ...

    def query(self, name: str) -> tuple[str, ...] | None:
        """As `Query.find`."""
        ...

    def has_parameter(self, name: str) -> bool:
        """Whether a parameter may have been sent, in any spelling."""
        ...

    def claim(self, name: str) -> Any:  # noqa: ANN401 - as `Asked.claim`
        """As `Asked.claim`."""
        ...

    def is_integer(self, claim: str) -> bool:
        """Whether a claim is an integer, which is all that is known of it."""
        ...


class Desk:
    """The record that is being decided again."""

    def __init__(self) -> None:
        self.past: Past


def over_records(policies: PolicySet, desk: Desk) -> PolicySet:
    """The same policies; they ask what lies on the desk."""
    rebuild = _Rebuild(desk)

    def ask(*given: Any) -> Asked:  # noqa: ANN401 - as Asked
        return _Asked(desk, *given)

    return policies.rebuilt(rebuild.rule, ask)


class _Query:
    """The query, by parameters that were kept."""

    def __init__(self, past: Past) -> None:
        self.find = past.query

    @property
    def values(self) -> NoReturn:
        raise NotKeptError(QUERY)

    is_repeated = values


class _Asked(Asked):
    __slots__ = ("_desk",)

    def __init__(self, desk: Desk, *given: Any) -> None:  # noqa: ANN401 - as Asked
        super().__init__(*given)
        self._desk = desk

    @property
    def query(self) -> Query | None:
        return _Query(self._desk.past)  # type: ignore[return-value] # has what rules use of one

    @property
    def claims(self) -> NoReturn:
        raise NotKeptError(CLAIMS)

    def claim(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        return self._desk.past.claim(name)


class _Texts(TextSet, frozen=True, gc=False, kw_only=True):
    desk: Desk
    attribute: str
    fold: bool

    def has_any(self, values: Collection[str]) -> bool:
        if self.fold:
            folded = self.desk.past.folded
            values = [folded.get(value, value) for value in values]
        if not self.exact.isdisjoint(values):
            return True
        return self.wild and any(self._has(value) for value in values)

    def _has(self, value: str) -> bool:
        if STAND_IN not in value or self.present:
            return self.has(value)
        known = value.partition(STAND_IN)[0]
        if any(known.startswith(prefix) for prefix in self.prefixes):
            return True
        if self.suffixes or any(prefix.startswith(known) for prefix in self.prefixes):
            raise NotKeptError(self.attribute)
        return False


class _AddressPart(AddressPart, frozen=True, gc=False, kw_only=True):
    desk: Desk
    attribute: str

    def test(self, asked: Asked) -> Outcome:
        past = self.desk.past
        past.need(self.attribute)
        text = self.read(asked)
        if STAND_IN not in text:
            return AddressPart.test(self, asked)
        around = past.ranges.get(self.attribute)
        if around is None:
            raise NotKeptError(self.attribute)
        version, low, high = around
        lies = [first <= low and high <= last for kind, (first, last) in self.addresses.ranges() if kind == version]
        meets = [first <= high and low <= last for kind, (first, last) in self.addresses.ranges() if kind == version]
        if any(meets) and not any(lies):
            raise NotKeptError(self.attribute)
        return YES if any(lies) != self.negative else NO


class _Plan(Plan, frozen=True, gc=False, kw_only=True):
    desk: Desk

    def resolve(self, asked: Asked) -> Obligations | None:
        past = self.desk.past
        for name in self.governed_names:
            if past.has_parameter(name):  # how it was spelt decides, and is not kept
                raise NotKeptError(query_name(name))
        return Plan.resolve(self, asked)


class _Rebuild:
    """Rules made anew, every read of them watched."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def rule(self, rule: Rule) -> Rule:
        return replace(
            rule,
            sources=None if rule.sources is None else tuple(map(self._source, rule.sources)),
            operations=None if rule.operations is None else tuple(map(self._operation, rule.operations)),
            whens=tuple(map(self._part, rule.whens)),
            condition=None if rule.condition is None else self._program(rule.condition),
            plan=None if rule.plan is None else self._plan(rule.plan),
        )

    def _source(self, source: Source) -> Source:
        scopes = None if source.scopes is None else self._part(source.scopes)
        return replace(source, parts=tuple(map(self._part, source.parts)), scopes=scopes)

    def _operation(self, operation: Operation) -> Operation:
        return replace(operation, parts=tuple(map(self._part, operation.parts)))

    def _part(self, part: Part) -> Part:
        desk, attribute = self._desk, attribute_of(part)
        if isinstance(part, AddressPart):
            return _AddressPart(*astuple(part), desk=desk, attribute=attribute)
        read = part.read

        def watched(asked: Asked) -> Found:
            if attribute:
                desk.past.need(attribute)
            return read(asked)

        texts = _Texts(*astuple(part.texts), desk=desk, attribute=attribute or part.field, fold=part.fold)
        return replace(part, read=watched, texts=texts)

    def _plan(self, plan: Plan) -> Plan:
        fields = {name: getattr(plan, name) for name in Plan.__struct_fields__}
        for group in ("upstream_headers", "client_headers", "set_query", "metadata"):
            fields[group] = tuple((name, self._program(program, added=True)) for name, program in fields[group])
        return _Plan(**fields, desk=self._desk)

    def _program(self, program: Program, *, added: bool = False) -> Program:
        """`added`: an allow adds the value, so that it matters what it is made of, not what it is."""
        desk, evaluate = self._desk, program.value
        reads = [
            (_reader(name, key), attribute_read(name, key), (name, key) in program.loose, _shown(name, key))
            for name, key in program.reads
        ]
        claim = program.reads[0][1] if added and program.direct and program.reads[0][0] == "subject.claims" else None

        def watched(asked: Asked) -> object:
            past = desk.past
            if claim is not None and past.is_integer(claim):
                return 0
            for read, attribute, loose, shown in reads:
                if attribute:
                    past.need(attribute)
                if loose and _stands_in(read, asked):
                    raise NotKeptError(shown)
            value = evaluate(asked)
            if added and isinstance(value, list) and len(value) > _MAX_JOINED and any(map(_is_stand_in, value)):
                raise NotKeptError(program.text)
            return value

        return replace(program, value=watched)


def _reader(name: str, key: str | None) -> Any:  # noqa: ANN401 - as Variable.read
    variable = VARIABLES[name]
    return variable.read if key is None or variable.keyed is None else variable.keyed(key)


def _shown(name: str, key: str | None) -> str:
    """What an expression reads, for people."""
    return attribute_read(name, key) or (name if key is None else f"{name}[{key}]")


def _stands_in(read: Any, asked: Asked) -> bool:  # noqa: ANN401 - as above
    try:
        return _is_stand_in(read(asked))
    except UnreadableError:
        return False


def _is_stand_in(value: object) -> bool:
    if isinstance(value, str):
        return STAND_IN in value
    if isinstance(value, dict):
        return any(map(_is_stand_in, value.values()))
    return isinstance(value, list | tuple) and any(map(_is_stand_in, value))
