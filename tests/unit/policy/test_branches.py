"""Conditions taken apart: the structure is that of CEL's own tree, and the parts give what the whole gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.policy.asked import Asked
from extauthz.policy.branches import Both, Branches, Chosen, Either, Negated, Part, branches
from extauthz.policy.condition import FAILED, Conditions
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW

CONDITIONS = Conditions({"limits": {"a": 1}})


def parts(text: str) -> list[str]:
    return [part.text for part in branches(text, CONDITIONS).parts]


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        ("true", ["true"], Part),
        ("request.method == 'GET'", ["request.method == 'GET'"], Part),
        ("1 < 2 && (3 < 4 || !(5 < 6)) && true", ["1 < 2", "3 < 4", "!(5 < 6)", "true"], Both),
        ("(1 < 2 || true) || (false)", ["1 < 2", "true", "false"], Either),
        ("!(1 < 2 && true)", ["1 < 2", "true"], Negated),
        ("!!(1 < 2 && true)", ["1 < 2", "true"], Both),
        ("1 < 2 ? true : 3 < 4 ? false : true", ["1 < 2", "true", "3 < 4", "false", "true"], Chosen),
        ("request.path == 'a && b' && true", ["request.path == 'a && b'", "true"], Both),
        ("request.path == r'\\d && ' && true", ["request.path == r'\\d && '", "true"], Both),
        ("request.path == 'it\\'s' && true", ["request.path == 'it\\'s'", "true"], Both),
        ('request.path == """"&& """ && true', ['request.path == """"&& """', "true"], Both),
        ("true // && false\n && 1 < 2", ["true", "1 < 2"], Both),
        ("subject.roles.exists(r, r == 'a' && r != 'b') && true", ["subject.roles.exists(r, r == 'a' && r != 'b')", "true"], Both),
        ("{'a': true}['a'] && [true, false][0]", ["{'a': true}['a']", "[true, false][0]"], Both),
        ("(true ? 1 : 2) == 1 && true", ["(true ? 1 : 2) == 1", "true"], Both),
        ("!subject.authenticated == true || false", ["!subject.authenticated == true", "false"], Either),
    ],
)  # fmt: skip
def test_the_parts_are_the_authors_own_words(text: str, expected: list[str], kind: type) -> None:
    taken: Branches = branches(text, CONDITIONS)
    assert expected == [part.text for part in taken.parts]
    assert isinstance(taken.node, kind)
    assert all(text[part.start : part.end] == part.text for part in taken.parts)


def test_only_what_is_reached_has_a_result() -> None:
    asked = Asked(a_request("GET"), ALICE, "", NOW)

    def results(text: str) -> dict[int, bool | None]:
        return branches(text, CONDITIONS).results(asked)

    assert {0: False} == results("request.method == 'PUT' && request.query.a == 'b'")
    assert {0: True, 1: None} == results("request.method == 'GET' && request.query.a == 'b'")
    assert {0: None, 1: False} == results("request.query.a == 'b' && request.method == 'PUT'")
    assert {0: True} == results("request.method == 'GET' || request.query.a == 'b'")
    assert {0: False, 2: True} == results("request.method == 'PUT' ? false : true")
    assert {0: True, 1: True} == results("data.limits.a == 1 && 'x' in {'x': 1}")


ATOMS = st.sampled_from(
    ["request.method == 'GET'", "request.query.a == '&&'", "'?:' in subject.roles", "!subject.authenticated", "true", "false", "int('x') == 1", "[true][0]", "subject.claims.vip"]
)  # fmt: skip
TEXTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("{} && {}".format, inner, inner),
        st.builds("({}) || {}".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({})".format, inner),
        st.builds("({}) ? {} : ({})".format, inner, inner, inner),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(text=TEXTS, method=st.sampled_from(["GET", "PUT"]), query=st.sampled_from(["", "?a=b", "?a=%26%26"]))
def test_the_parts_together_give_what_the_whole_gives(text: str, method: str, query: str) -> None:
    """And none of these falls back to one part for all: the splitter and CEL agree about the structure."""
    program, _, kind = CONDITIONS.expression(text)
    if program is None or kind != "BOOL":
        return
    taken = branches(text, CONDITIONS)
    assert len(taken.parts) > 1 or not any(
        sign in text.replace("'&&'", "").replace("'?:'", "") for sign in ("&&", "||", "?")
    )
    asked = Asked(a_request(method, f"/{query}"), ALICE, "", NOW)
    whole = program.value(asked)
    result = taken._evaluate(taken.node, asked, {})
    assert (None if whole is FAILED else whole) == result, text
