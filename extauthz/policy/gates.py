"""Rules of one place of the index, found by who calls: a rule that names its callers exactly is not tried for others.

Rule: a gate may let a rule too many through, never one too few. It reads what the rule's own test reads, and only
rules are behind it that no caller without one of the names can match: their test would end in NO.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct

from extauthz.policy.asked import Asked
from extauthz.policy.kinds import reads_kind
from extauthz.policy.parts import Found, TextPart
from extauthz.policy.rule import Rule
from extauthz.policy.sources import Source

Key = tuple[str, str]  # field of `from` and one of its values
MAX_KEYS = 64  # a rule with more names than this is always tried
FEW = 4  # rules at one place that are sooner tried than looked up; most places have no more


class Entrance(Struct, frozen=True):
    """How a rule is found: by its keys, or always when it has none."""

    keys: tuple[Key, ...] = ()
    parts: dict[str, TextPart] = {}  # by field: one that reads it


ALWAYS = Entrance()


def find_entrances(rules: Sequence[Rule]) -> list[Entrance]:
    """The entrance of each rule: of what it names, what the fewest rules name."""
    count: Counter[Key] = Counter()
    for rule in rules:
        count.update({key for source in rule.sources or () for part in _exact_parts(source) for key in _keys(part)})
    return [_entrance(rule, count) for rule in rules]


def _entrance(rule: Rule, count: Counter[Key]) -> Entrance:
    """The keys of which a caller must have one; ALWAYS when an alternative of `from` names nobody exactly."""
    keys: dict[Key, None] = {}
    read: dict[str, TextPart] = {}
    for source in rule.sources or ():
        parts = _exact_parts(source)
        if not parts:
            return ALWAYS
        rarest = min(parts, key=lambda part: max(count[key] for key in _keys(part)))
        keys.update(dict.fromkeys(_keys(rarest)))
        read[rarest.field] = rarest
    return Entrance(tuple(keys), read) if 0 < len(keys) <= MAX_KEYS else ALWAYS


def _exact_parts(source: Source) -> list[TextPart]:
    return [
        part
        for part in source.parts
        if isinstance(part, TextPart) and not (part.negative or part.fold or part.texts.wild) and part.texts.exact
    ]


def _keys(part: TextPart) -> list[Key]:
    return [(part.field, text) for text in sorted(part.texts.exact)]


class Gate:
    """The rules behind the values of one field."""

    __slots__ = ("by_kind", "read", "rules")

    def __init__(self, read: Callable[[Asked], Found], *, by_kind: bool) -> None:
        """`by_kind`: all requests of a kind have the same values (see `kinds`)."""
        self.read, self.by_kind = read, by_kind
        self.rules: dict[str, list[int]] = {}


Look = Callable[[Gate], Found | None]  # the values that stand before a gate; None: whoever calls


def everybody(_: Gate) -> None:
    """Every gate is open."""


def caller(asked: Asked) -> Look:
    """Who asks."""
    return lambda gate: gate.read(asked)


def kind_of_caller(asked: Asked) -> Look:
    """Everybody who asks like this one."""
    return lambda gate: gate.read(asked) if gate.by_kind else None


class Place:
    """Positions of rules; where there are more than a few, those that have keys are behind gates."""

    __slots__ = ("_gates", "_open")

    def __init__(self) -> None:
        """Nothing yet."""
        self._open: tuple[int, ...] | list[int] = ()
        self._gates: dict[str, Gate] | None = None

    def add(self, position: int, entrances: Sequence[Entrance]) -> None:
        """Enter a rule; `entrances` are those of all rules, by position."""
        if self._gates is not None:
            self._enter(self._gates, position, entrances[position])
            return
        self._open = (*self._open, position)
        if len(self._open) > FEW:
            waiting, self._open, self._gates = self._open, [], {}
            for each in waiting:
                self._enter(self._gates, each, entrances[each])

    def _enter(self, gates: dict[str, Gate], position: int, entrance: Entrance) -> None:
        if not entrance.keys and isinstance(self._open, list):
            self._open.append(position)
        for field, text in entrance.keys:
            gate = gates.get(field)
            if gate is None:
                part = entrance.parts[field]
                gate = gates[field] = Gate(part.read, by_kind=reads_kind(part))
            gate.rules.setdefault(text, []).append(position)

    def collect(self, look: Look, found: set[int]) -> None:
        """Add the rules that can match for who stands before the gates."""
        found.update(self._open)
        if self._gates is None:
            return
        for gate in self._gates.values():
            values = look(gate)
            if isinstance(values, tuple):
                for value in values:
                    if value in gate.rules:
                        found.update(gate.rules[value])
            else:  # everybody, or it cannot be told
                found.update(*gate.rules.values())
