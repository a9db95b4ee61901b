"""Lowered conditions give what CEL's own evaluator gives: the same value, or an error where that errs.

Expressions are written by a grammar, types first, from a seed that hypothesis chooses, and evaluated on requests from the
same seed. EXTAUTHZ_LOWERING_EXAMPLES: how many expressions each test tries, each on TRIALS requests.
"""

import math
import os
import random
import re
from typing import Any, Final

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.model.request import Peer
from extauthz.model.subject import Subject
from extauthz.policy.asked import Asked
from extauthz.policy.condition import FAILED, Conditions
from tests.fakes import a_request

MANY = settings(deadline=None, max_examples=int(os.environ.get("EXTAUTHZ_LOWERING_EXAMPLES", "200")))
TRIALS: Final = 6

DATA: dict[str, Any] = {
    "mixed": [1, 1.5, True, None, "a", "1", [1, "a"], {"a": 1}, 2**53 + 1, 2.0**53, -1, ""],
    "names": ["alice", "bob", "é", "😀", "c1", "c2", "c3", "c4", "c5", "c6", ""],
    "limits": {"alice": 100, "bob": 2.5, "admin": {"a": {"b": [0, 1, "x"]}}, "é": None, "": [], "flag": True},
    "many": [0] * 90 + [1] * 9,
    "count": 3,
}
CONDITIONS = Conditions(DATA)

# --- expressions. <a|b>: an expression of one of the types; <same>: of one type throughout; <any>: of any;
# @a: an expression of type a in which `v`, the variable of the loop, may stand; [x,y]: one of these words.

TEXTS = ["", "a", "A", "ab", "alice", "bob", "1", "-1", "9223372036854775807", "1.5", "true", "é", "😀", "é😀a", "GET"]
LEAVES: dict[str, list[str]] = {
    "bool": ["true", "false", "subject.authenticated", "has(request.headers.a)", "'b' in request.query", "has(params.id)", "'x' in subject.claims"],
    "int": ["0", "1", "-1", "2", "3", "7", "-7", "100", "9223372036854775807", "-9223372036854775808", "9007199254740993", "request.port", "subject.expires_at", "subject.auth_time", "source.port"],
    "uint": ["0u", "1u", "7u", "9223372036854775808u", "18446744073709551615u"],
    "double": ["0.0", "-0.0", "1.0", "1.5", "-2.5", "9007199254740992.0", "9223372036854775808.0", "1e308", "(0.0/0.0)", "(1.0/0.0)", "(-1.0/0.0)"],
    "string": [*(f"'{text}'" for text in TEXTS), "'\\n'", "subject.id", "subject.id", "request.method", "request.path", "request.raw_path", "subject.tenant", "resource.tenant", "request.headers.a", "request.query.b", "request.query['c']", "params.id", "subject.acr", "source.address"],
    "bytes": ["b''", "b'a'", "b'\\xff'", "b'\\xc3\\xa9'"],
    "time": ["now", "timestamp('2023-11-14T22:13:20Z')", "timestamp('1969-12-31T23:59:59.5Z')", "timestamp('0001-01-01T00:00:00Z')", "timestamp('9999-12-31T23:59:59.999999999Z')", "timestamp('2024-02-29T12:30:00+05:30')", "timestamp('nonsense')", "timestamp('2023-02-29T00:00:00Z')", "timestamp('2023-06-30T23:59:60Z')", "timestamp(0)", "timestamp(subject.expires_at)"],
    "length": [f"duration('{text}')" for text in ("0s", "1h", "90m", "-1h30m", "1ms", "1ns", "9223372036s", "-9223372036s", "1", "x", "1.5h")],
    "strings": ["subject.roles", "subject.roles", "subject.scopes", "request.segments", "['a', 'alice', 'é']", "['a','b','c','d','e','f','g','h','i','alice']", "subject.actors"],
    "list": ["[]", "[1, 2, 3]", "[1, 'a', 1.5, null, true]", "data.mixed", "data.many", "[[1], ['a'], []]", "[dyn(1u), 1.0]"],
    "map": ["{'a': 1, 'b': 'x'}", "subject.claims", "request.query", "request.headers", "params", "data.limits", "{}"],
    "dyn": ["null", "subject.claims.x", "subject.claims.y", "subject.claims.z.x", "subject.claims['n']", "data.mixed[0]", "data.limits[subject.id]", "data.limits.admin.a.b", "data.count", "data.names[data.count]", "data.names", "data.limits.flag"],
}  # fmt: skip
GETTER = "[getFullYear,getMonth,getDate,getDayOfMonth,getDayOfWeek,getDayOfYear,getHours,getMinutes,getSeconds,getMilliseconds]"
PATTERN = "['a','^a','a$','^ab?$','^[a-z]+$','^(alice|bob)$','^[^a]*$','^\\\\d{1|3}$','^a.*$','^.{2|}$','^$','','\\\\.','^[\\\\w-]+@x$','^(a|ab)$','x|y']"
ITEMS = "<strings|list|map|dyn>"
ROW = "<strings|list>"  # a map has no order, so that what is made of one may differ
RULES: dict[str, list[str]] = {
    "bool": [
        "(<bool> && <bool|dyn>)", "(<bool|dyn> || <bool>)", "(<bool> [&&,||] <bool> [&&,||] <bool|dyn>)", "!<bool|dyn>",
        "(<same> [==,!=,<,<=,>,>=] <same>)", "(<same> [==,!=] <same>)", "(<dyn> [==,!=,<,<=,>,>=] <any>)", "(<any> [==,!=,<,<=,>,>=] <dyn>)",
        "(<string> in <strings>)", "(<any> in <list|dyn>)", "(<string|dyn> in <map>)", "(<any> in data.names)", "(<any> in data.limits.admin)",
        "<string|dyn>.[startsWith,endsWith,contains](<string|dyn>)", f"<string|dyn>.matches({PATTERN})", "has(<map>.[a,b,x,alice])", "has(<map>.[a,b,x,alice])",
        "has(data.limits[<string>].a)", "bool(<string|bool|dyn>)", "(<bool> ? <bool|dyn> : <bool>)", "now.getHours('Europe/Berlin') > <int>",
    ],
    "int": [
        "(<int|dyn> [+,-,*,/,%] <int>)", "(<int> [+,-,*,/,%] <int|dyn>)", "(-<int>)", "int(<int|uint|double|string|bool|time|dyn>)", "size(<string|bytes|strings|list|map|dyn>)",
        "<string|strings|list|map|dyn>.size()", f"<time>.{GETTER}()", f"now.{GETTER}(['Europe/Berlin','+02:00','UTC'])",
        "<length>.[getHours,getMinutes,getSeconds,getMilliseconds]()", "<string>.[indexOf,lastIndexOf](<string>)",
    ],
    "uint": ["(<uint> [+,-,*,/,%] <uint>)", "uint(<int|uint|double|string|dyn>)"],
    "double": ["(<double|dyn> [+,-,*,/] <double>)", "(-<double>)", "double(<int|uint|double|string|dyn>)"],
    "string": [
        "(<string> + <string|dyn>)", "string(<int|uint|double|string|bool|bytes|time|length|dyn>)", "<strings>[<int|dyn>]", "<string>.[lowerAscii,upperAscii,trim]()",
        "<string>.replace(<string>, <string>)", "<string>.substring(<int>)", "<string>.substring(<int>, <int>)", "<string>.charAt(<int>)", "<strings>.join(<string>)", "<strings|list|dyn>.join()",
    ],
    "bytes": ["(<bytes> + <bytes>)", "bytes(<string>)"],
    "time": ["(<time> [+,-] <length>)", "(<length> + <time>)", "timestamp(<int|string|dyn|time>)"],
    "length": ["(<length> [+,-] <length>)", "(<time> - <time>)", "duration(<string|dyn>)"],
    "strings": ["(<strings> + <strings>)", "<string>.split(<string>)", "<string>.split(<string>, [-1,0,1,2])", "[<string>, <string>]"],
    "list": ["(<list> + <list|dyn>)", "[<any>, <any>]"],
    "map": ["{'a': <any>, 'b': <any>}"],
    "dyn": ["<map|dyn>.[a,b,x,alice]", "<list|dyn>[<int|dyn|double|uint>]", "<map>[<string|dyn>]", "data.limits[<any>]", "data.names[<any>]", "data.mixed[<any>]", "(<bool> ? <any> : <dyn>)", "(<dyn> + <any>)", "dyn(<any>)"],
}  # fmt: skip
LOOPS: dict[str, list[str]] = {
    "bool": [f"{ITEMS}.all(v, @bool)", f"{ITEMS}.exists(v, @bool)", f"{ITEMS}.exists_one(v, @bool)"],
    "list": [f"{ROW}.filter(v, @bool)", f"{ROW}.map(v, @string)", f"{ROW}.map(v, @dyn)", f"{ROW}.map(v, @bool, @int)"],
    "strings": [f"{ROW}.map(v, @string)", "<strings>.filter(v, @bool)"],
    "int": [f"{ITEMS}.filter(v, @bool).size()", f"{ITEMS}.map(v, @any).size()"],
}  # fmt: skip
ALIKE = ("bool", "int", "uint", "double", "string", "bytes", "time", "length", "dyn")
_HOLE = re.compile(r"<([a-z|]+)>|@([a-z]+)|\[((?:[^\[\],]+|'[^']*'),(?:[^\[\]]|\[[^\]]*\])*)\](?![,\]])")


class Writer:
    """Writes expressions of at most a depth of operators, with loops within loops."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def write(self, kind: str, depth: int, around: int = 0) -> str:
        if kind == "any":
            kind = self._chance.choice(list(LEAVES))
        if depth == 0 or self._chance.random() < 0.15:
            return "v" if around and self._chance.random() < 0.4 else self._chance.choice(LEAVES[kind])
        rules = RULES[kind] + (LOOPS.get(kind, []) if around < 2 else [])
        return self._fill(self._chance.choice(rules), depth - 1, around)

    def _fill(self, rule: str, depth: int, around: int) -> str:
        alike = self._chance.choice(ALIKE)

        def fill(match: re.Match[str]) -> str:
            if match[1]:
                kind = alike if match[1] == "same" else self._chance.choice(match[1].split("|"))
                return self.write(kind, depth, around)
            if match[2]:
                return self.write(match[2], depth, around + 1)
            words = re.findall(r"'[^']*'|[^,]+", match[3])
            return self._chance.choice(words).replace("{1|3}", "{1,3}").replace("{2|}", "{2,}")

        return _HOLE.sub(fill, rule)


# --- what they are asked of

CHARACTERS = [
    *TEXTS,
    "\n",
    "a,b",
    "\ud800",
    "a\0b",
    "x" * 40,
    "9007199254740993",
    "1e400",
    " 7 ",
    "0x10",
    "2024-02-29T00:00:00Z",
    "1h",
    "a\u2028b",
    "\x85a",
]
NUMBERS = [0, 1, -1, 2, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, 0.0, 1.0, 1.5, -0.0, 2.0**53, 1e300]


def any_json(chance: random.Random, depth: int) -> Any:
    match chance.randrange(8 if depth else 5):
        case 0:
            return chance.choice([None, True, False])
        case 1 | 2:
            return chance.choice(NUMBERS)
        case 3 | 4:
            return chance.choice(CHARACTERS).replace("\ud800", "")
        case 5:
            return [any_json(chance, depth - 1) for _ in range(chance.randrange(4))]
        case _:
            return {
                key: any_json(chance, depth - 1)
                for key in chance.sample(["a", "b", "x", "alice", "a\0"], chance.randrange(4))
            }


def any_question(chance: random.Random) -> Asked:
    def texts() -> tuple[str, ...]:
        return tuple(chance.choices(CHARACTERS if chance.random() < 0.2 else TEXTS, k=chance.randrange(4)))

    claims = {key: any_json(chance, 2) for key in chance.sample(["x", "y", "z", "n", "a"], chance.randrange(6))}
    subject = Subject(
        "https://idp.test",
        chance.choice(CHARACTERS),
        tenant=chance.choice(["", "acme", "é"]),
        acr=chance.choice(["", "1", "2"]),
        roles=texts(),
        scopes=texts(),
        actors=("portal",),
        auth_time=chance.choice([0, 1, -1, 2**63 - 1]),
        expires_at=chance.choice([0, 1_700_000_300, 253_402_300_800, 2**63]),
        claims=chance.choice([b"not json", b"[]", *[msgspec.json.encode(claims)] * 8]),
    )
    headers = chance.choice(
        [[], [("a", chance.choice(CHARACTERS))], [("a", "x"), ("a", "y")], [("a", "1"), ("b", "x")]]
    )
    query = chance.choice(["", "b=1", "b=a&c=2", "b=%C3%A9&c=", "c=-7&c=8", "b=%ff", "a=1&b=2&c=3&d=4"])
    request = a_request(headers=headers, source=Peer("10.0.0.1", 4711))
    now = chance.choice([1_700_000_000, 0, 1_709_164_800])
    found = Asked(
        replace(request, query=query, port=chance.choice([0, 443])), subject, chance.choice(["", "acme"]), now
    )
    found.params = chance.choice([{}, {"id": "c1"}, {"id": "alice", "x": "1"}])
    return found


# --- the claim


def same(left: object, right: object) -> bool:
    """Equal in type, too; NaN is NaN."""
    if left is FAILED or right is FAILED:
        return left is right
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


def outcomes(text: str, chance: random.Random) -> list[str]:
    """What became of an expression on some requests, by both; fails where they differ."""
    program, _, _ = CONDITIONS.expression(text)
    if program is None:
        return ["refused by CEL's checker"]
    assert not program.slow or "matches" in program.slow, program.slow
    found = ["CEL's own evaluator" if program.slow else "lowered"]
    for _ in range(TRIALS):
        asked = any_question(chance)
        expected, value = program.by_cel(asked), program.value(asked)
        assert same(expected, value), (text, expected, value, asked.subject, asked.request, asked.params, asked.now)
        found.append("failed" if expected is FAILED else "evaluated")
    return found


def check(text: str, chance: random.Random) -> None:
    for outcome in outcomes(text, chance):
        event(outcome)


SEEDS = st.integers(0, 2**48)


@MANY
@given(seed=SEEDS)
@pytest.mark.parametrize("kind", ["bool", "int", "string", "dyn", "list"])
def test_every_operator_gives_what_cel_gives(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    check(Writer(chance).write(chance.choice([kind, kind, "double", "strings", "uint", "map"]), 1), chance)


@MANY
@given(seed=SEEDS, depth=st.integers(2, 5))
def test_conditions_give_what_cel_gives(seed: int, depth: int) -> None:
    chance = random.Random(seed)
    check(Writer(chance).write("bool", depth), chance)


@pytest.mark.parametrize(
    "text",
    [
        "[1].all(now, now == 1)",
        "['a'].exists(params, params == 'a' && size(params) == 1)",
        "[1, 2].map(now, [3].map(now, now)[0] + now) == [4, 5]",
        "[{'id': 'a'}].all(params, params.id == 'a') && params.id == 'c1'",
        "[timestamp(0)].all(now, now.getHours() == 0 && now < timestamp(5))",
        "['alice'].all(name, name in data.names)",
        "[{'claims': {'x': 1}}].all(subject, subject.claims.x == 1)",
        "subject.roles.all(role, [role].all(role, role == role))",
        "[[1], [2]].all(x, x.all(y, y in x))",
        "request.headers['A'] == 'x' || 'A' in request.headers",
        "[now].all(time, time == now) && [1].all(x, now > timestamp(x))",
    ],
)
def test_names_mean_what_they_mean_to_cel(text: str) -> None:
    """Variables of loops may be called like ours and like each other; names of headers have no case."""
    assert {"lowered", "evaluated"} <= set(outcomes(text, random.Random(0)))
