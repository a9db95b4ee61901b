"""`request.auth.claims[…]` in CEL, for what our own `when` would read otherwise.

Rule 1: Istio compares texts and lists of texts; `5` in a token is no text, though our `when` reads it as one.
Rule 2: an expression here never fails, whatever a token holds.
"""

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from extauthz.mesh.texts import Match, grouped, matches, quoted, read_match
from extauthz.mesh.values import Value
from extauthz.policy.matchers import text_problem

# What Istio always reads as a list of words (RequestAuthentication, `spaceDelimitedClaims`).
ALWAYS_WORDS: Final = ("scope", "permission")
_KEY = re.compile(r"request\.auth\.claims((?:\[[^\[\]]+\])+)")
_NUMBER = re.compile(r"-?[0-9]*")
_WORDS = ("true", "false")


class Words(Struct, frozen=True):
    """Which claims are lists of words, by issuer."""

    everywhere: frozenset[str] = frozenset(ALWAYS_WORDS)
    of_issuers: tuple[tuple[str, frozenset[str]], ...] = ()  # claim, and the issuers whose tokens have it so

    def issuers(self, claim: str) -> frozenset[str]:
        """The issuers for which alone it is one."""
        return dict(self.of_issuers).get(claim, frozenset())


def claim_names(key: str) -> list[str]:
    """The names in `request.auth.claims[a][b]`, none when it is no such key."""
    found = _KEY.fullmatch(key)
    return found[1][1:-1].split("][") if found else []


class Claim(Struct, frozen=True):
    """A claim that is a text, a list of texts or a list of words."""

    names: tuple[str, ...]
    words: Words

    def test(self, found: Sequence[Match]) -> str:
        """Whether one of these matches."""
        place, guards = "subject.claims", []
        for at, name in enumerate(self.names):
            if at:
                guards.append(f"type({place}) == map")
            guards.append(f"{quoted(name)} in {place}")
            place = f"{place}[{quoted(name)}]"
        # Without `dyn` CEL's type checker takes no range of a comprehension two levels down.
        members = f"dyn({place})" if len(self.names) > 1 else place
        member = f"{members}.exists(m, type(m) == string && {grouped(matches('m', found))})"
        text = self._text(place, found)
        return " && ".join([*guards, f"(type({place}) == string ? {text} : type({place}) == list && {member})"])

    def _text(self, place: str, found: Sequence[Match]) -> str:
        split = f'{place}.split(" ").exists(m, {matches("m", found)})'
        whole = grouped(matches(place, found))
        name = self.names[0]
        if len(self.names) > 1:
            return whole
        if name in self.words.everywhere:
            return split
        issuers = ", ".join(map(quoted, sorted(self.words.issuers(name))))
        return f"(subject.issuer in [{issuers}] ? {split} : {whole})" if issuers else whole


def claim(names: list[str], value: str, words: Words) -> Value:
    """What one of its values becomes."""
    match = read_match(value)
    reads_alike = names == ["scope"] or (names[0] not in words.everywhere and not words.issuers(names[0]))
    is_exact = not text_problem(value) and reads_alike and not _may_be_no_text(match)
    return Value(native=value if is_exact else "", is_exact=is_exact, attribute=Claim(tuple(names), words), match=match)


def _may_be_no_text(match: Match) -> bool:
    """Whether a number or truth value, written out, would match."""
    text = match.text
    match match.kind:
        case "exact":
            return bool(_NUMBER.fullmatch(text)) or text in _WORDS
        case "prefix":
            return bool(_NUMBER.fullmatch(text)) or any(word.startswith(text) for word in _WORDS)
        case "suffix":
            return text.isdigit() or any(word.endswith(text) for word in _WORDS)
        case _:
            return True
