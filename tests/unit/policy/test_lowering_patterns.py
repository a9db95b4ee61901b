"""`matches`: patterns that Python matches are matched as RE2 does, and no text makes one of them slow."""

import random
import re
from collections.abc import Callable
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.policy.asked import Asked
from extauthz.policy.condition import Conditions
from extauthz.policy.lowering.pattern_syntax import read_pattern, write_pattern
from extauthz.policy.lowering.patterns import MAX_TEXT, matcher
from extauthz.policy.lowering.values import BeyondError
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW

CONDITIONS = Conditions({})


@cache
def by_cel(pattern: str) -> Callable[[str], object]:
    program, _, _ = CONDITIONS.expression(f"subject.claims.x.matches({msgspec.json.encode(pattern).decode()})")
    assert program is not None
    evaluate = program.by_cel
    return lambda text: evaluate(Asked(a_request(), replace(ALICE, claims=msgspec.json.encode({"x": text})), "", NOW))


USUAL = [
    r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$", r"^/api/v[0-9]+/", r"^(admin|ops)-[a-z]+$", r"^[^@]+@example\.com$", "^[1-9][0-9]{0,8}$",
    r"^\d{4}-\d{2}-\d{2}$", r"^[\w-]+$", r"\.pdf$", "admin", "^a", "^$", "", r"^https?://", r"^(?:a|b)?c$", r"^([a-z]+\.)*[0-9]", "^.*$", r"^a{2,3}b?c*$",
    r"^(a|b|)(c|d|)$", r"^[+\-]?\d+$", r"^urn:[^:]+:[^:]+$", "^é+$", "^[à-ü]*$", r"^[^\n]+$", r"^\S+$", r"^\D\W$", "^a.c$", "^[a-c-]+$", r"^\[x\]$",
]  # fmt: skip
LEFT = [
    r"^(a+)+$", r"^(a*)*$", "^a*a$", "^a?a$", r"^(a|ab)c$", "(a|b)", "^a|b", r"^(a|a)*$", r"^(a?){9}$", r"^(|)$", "^(a?|b?)$", "a+", "^.*x$", r"^(?i)a$", r"\bword\b",
    r"^(?P<x>a)$", r"^a*?$", r"^\pL$", "^[[:alpha:]]$", "(", "[", "a**", "^{2}$", "a{2", r"\1", "^a^b$", "^a$b$", "^[b-a]$", r"^\x41$", "^a{0}$", "^(((((((((((((a)))))))))))))b?$",
    "^" + "a?" * 20 + "a" * 20 + "$", "^[a-z]{100}[a-z]{100}[a-z]{100}[a-z]{100}$",
]  # fmt: skip


@pytest.mark.parametrize("pattern", USUAL)
def test_usual_patterns_are_matched_here(pattern: str) -> None:
    assert matcher(pattern) is not None


@pytest.mark.parametrize("pattern", LEFT)
def test_patterns_with_two_ways_and_unknown_syntax_are_left_to_cel(pattern: str) -> None:
    assert matcher(pattern) is None


@settings(deadline=None, max_examples=60)
@given(pattern=st.sampled_from(USUAL), seed=st.integers(0, 2**32))
def test_usual_patterns_match_what_re2_matches(pattern: str, seed: int) -> None:
    chance = random.Random(seed)
    found = matcher(pattern)
    assert found is not None
    for _ in range(10):
        near = "".join(chance.choices([*pattern.strip("^$"), *"abc-.@/:\n 0519éZ_"], k=chance.randrange(8)))
        for text in (near, near.replace("\\", ""), "DE893704004405320130", "2026-02-28", "ops-x", "\n" + near):
            assert by_cel(pattern)(text) is found(text), (pattern, text)


def any_pattern(chance: random.Random, depth: int) -> str:
    def atom() -> str:
        return chance.choice(
            [
                "a",
                "b",
                "c",
                ".",
                "[ab]",
                "[^a]",
                "\\d",
                "\\w",
                "\\.",
                "[a-c]",
                "é",
                "1",
                "-",
                " ",
                "\\s",
                "[\\w.-]",
                "[^\\d]",
            ]
        )

    if depth == 0:
        return atom()
    match chance.randrange(6):
        case 0 | 1:
            return any_pattern(chance, depth - 1) + any_pattern(chance, depth - 1)
        case 2:
            return f"({any_pattern(chance, depth - 1)}|{any_pattern(chance, depth - 1)})"
        case 3:
            return f"(?:{any_pattern(chance, depth - 1)})" + chance.choice(
                ["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"]
            )
        case _:
            return atom() + chance.choice(["", "*", "+", "?", "{2}", "{1,3}"])


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**40))
def test_any_pattern_matches_what_re2_matches_or_is_left_to_it(seed: int) -> None:
    chance = random.Random(seed)
    pattern = (
        chance.choice(["^", "^", "^", ""]) + any_pattern(chance, chance.randrange(4)) + chance.choice(["$", "$", ""])
    )
    found = matcher(pattern)
    if found is not None:
        for _ in range(6):
            text = "".join(chance.choices("abc1.-é \n", k=chance.randrange(7)))
            assert by_cel(pattern)(text) is found(text), (pattern, text)


def steps(pattern: str, text: str) -> int:
    """How often a backtracking matcher, the simplest there is, looks at a character of the text."""
    looks = 0
    tree = re._parser.parse(pattern)  # type: ignore[attr-defined]

    def ways(nodes: list[tuple[object, object]], at: int, rest: Callable[[int], bool]) -> bool:
        nonlocal looks
        if not nodes:
            return rest(at)
        (operator, argument), *others = nodes
        name = str(operator)
        if name == "IN":
            looks += 1
            return at < len(text) and _in(argument, text[at]) and ways(others, at + 1, rest)
        if name in {"LITERAL", "NOT_LITERAL"}:
            looks += 1
            return at < len(text) and (ord(text[at]) == argument) is (name == "LITERAL") and ways(others, at + 1, rest)
        if name == "SUBPATTERN":
            return ways(list(argument[3]), at, lambda end: ways(others, end, rest))
        if name == "BRANCH":
            return any(ways(list(branch), at, lambda end: ways(others, end, rest)) for branch in argument[1])
        if name == "AT":
            return at == len(text) and ways(others, at, rest)
        low, high, inner = argument

        def again(count: int, at: int) -> bool:
            if count < high and ways(list(inner), at, lambda end: end > at and again(count + 1, end)):
                return True
            return count >= low and ways(others, at, rest)

        return again(0, at)

    ways(list(tree), 0, lambda _: True)
    return looks


def _in(ranges: list[tuple[object, tuple[int, int]]], char: str) -> bool:
    return any(low <= ord(char) <= high for _, (low, high) in ranges)


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**40))
def test_matching_takes_steps_in_proportion_to_the_text(seed: int) -> None:
    """Whatever text, a matcher that goes back looks at each character a bounded number of times."""
    chance = random.Random(seed)
    pattern = any_pattern(chance, 3)
    if matcher(f"^{pattern}$") is None:
        return
    written = write_pattern(read_pattern(pattern)) + r"\Z"
    ways = written.count("[") + 1
    for text in ("a" * 60, "ab" * 30, "1" * 60, "a1" * 30, "abc." * 15, "-" * 60, "é" * 60):
        assert steps(written, text) <= 2 * ways * (len(text) + 1), (pattern, text)


def test_long_texts_are_left_to_re2() -> None:
    found = matcher("^[a-z]+$")
    assert found is not None
    assert found("a" * MAX_TEXT)
    with pytest.raises(BeyondError):
        found("a" * (MAX_TEXT + 1))
    program, _ = CONDITIONS.condition("subject.id.matches('^[a-z]+$')")
    assert program is not None
    assert program.value(Asked(a_request(), replace(ALICE, id="a" * 5_000), "", NOW)) is True
