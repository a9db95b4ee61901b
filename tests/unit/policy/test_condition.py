"""CEL conditions: checked at load, total when evaluated, data looked up and not copied."""

import time
from typing import Any

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from extauthz.policy.asked import Asked
from extauthz.policy.condition import FAILED, MAX_LENGTH, Conditions, Flaw
from extauthz.policy.variables import VARIABLES
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW, allows, compiled, messages, rule, verdict

DATA: dict[str, Any] = {
    "portfolio": {"alice": ["c1", "c2"], "bob": [], "nested": {"a": {"b": [1, 2.0, True, None, "x", {"k": "v"}]}}},
    "limits": {"officer": 500, "manager": 5000.5, "none": None},
    "blocked": ["c9", "c8", 7, 7.5, True, None, ["a"], {"a": 1}],
    "big": {f"key-{number}": number for number in range(1_000)},
    "count": 3,
}


def asked(path: str = "/api/customers/c1?amount=250", **fields: Any) -> Asked:
    found = Asked(a_request(path=path, headers=[("x-channel", "mobile")]), replace(ALICE, **fields), "acme", NOW)
    found.params = {"customer": "c1"}
    return found


@pytest.fixture(scope="module")
def conditions() -> Conditions:
    return Conditions(DATA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("request.method == 'GET' && request.path == '/api/customers/c1'", True),
        ("request.host.endsWith('.bank.test') && request.scheme == 'https'", True),
        ("request.segments == ['api', 'customers', 'c1'] && request.port == 0", True),
        ("request.headers['x-channel'] == 'mobile'", True),
        ("has(request.headers.nothing)", False),
        ("request.headers.exists(name, name == 'x-channel')", True),
        ("int(request.query.amount) <= subject.claims.limit", True),
        ("subject.id == 'alice' && subject.issuer == 'https://idp.test' && subject.client == 'teller-app'", True),
        ("'officer' in subject.roles && 'openid' in subject.scopes && subject.tenant == 'acme'", True),
        ("subject.authenticated && subject.acr == '' && subject.auth_time == 0", True),
        ("subject.actors == ['portal-web', 'gateway'] && subject.session == 's-1'", True),
        ("subject.actors.size() == 0", False),
        ("subject.claims.address.country == 'DE' && subject.claims['groups'].size() == 2", True),
        ("resource.tenant == subject.tenant", True),
        ("params.customer in data.portfolio[subject.id]", True),
        ("subject.claims.limit <= data.limits[subject.roles[0]]", True),
        ("now == timestamp('2023-11-14T22:13:20Z') && now.getHours('Europe/Berlin') == 23", True),
        ("now < timestamp(subject.expires_at)", False),
        ("source.address == '' && source.principal == '' && destination.port == 0", True),
        ("'Mobile'.lowerAscii() == request.headers['x-channel']", True),
    ],
)
def test_conditions_read_request_subject_data_and_time(conditions: Conditions, text: str, expected: bool) -> None:
    program, flaws = conditions.condition(text)
    assert ([], expected) == (errors(flaws), program and program.value(asked()))


def errors(flaws: tuple[Flaw, ...]) -> list[Flaw]:
    return [flaw for flaw in flaws if flaw.severity == "error"]


UNSEEN_HEADERS = (
    "`request.headers` is read as a whole or by computed names, so that their spellings with `_` for `-` reach "
    "upstreams: name what is read"
)
UNSEEN_QUERY = (
    "`request.query` is read as a whole or by computed names, so that other spellings of them, as `Tenant` for "
    "`tenant`, count as other parameters: name what is read"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("request.headers['x-' + subject.id] == ''", [UNSEEN_HEADERS]),
        ("request.headers.exists(name, name == 'x-channel')", [UNSEEN_HEADERS]),
        ("subject.id in request.query", [UNSEEN_QUERY]),
        ("request.query.size() < 5 && request.headers.size() < 5", [UNSEEN_HEADERS, UNSEEN_QUERY]),
        ("'x-channel' in request.headers && request.headers['X-Channel'] == 'mobile' && has(request.query.a)", []),
        (
            "has(request.headers.x_channel)",
            [
                "`x_channel` is not `x-channel`, which no request brings to an upstream any more unless a policy reads it too"
            ],
        ),
        (
            "'x-a-b-c-d-e-f' in request.headers",
            [
                (
                    "`x-a-b-c-d-e-f` has more than 5 hyphens, too many spellings to remove: upstreams that take `_` "
                    "for `-` may read another one"
                )
            ],
        ),
    ],
)
def test_t28_t07_what_cannot_be_kept_from_upstreams_is_told(conditions: Conditions, text: str, told: list[str]) -> None:
    _, flaws = conditions.condition(text)
    assert [(flaw, "warning") for flaw in told] == [(flaw.message, flaw.severity) for flaw in flaws]


REQUEST = (
    "there are `request.headers`, `request.host`, `request.method`, `request.path`, `request.port`, "
    "`request.query`, `request.raw_path`, `request.scheme`, `request.segments`"
)
GOLDEN = [
    ("request.foo == 'x'", f"column 1: unknown name `request.foo`: {REQUEST}"),
    ("true && request.methd == 'GET'", "column 9: unknown name `request.methd`, did you mean `request.method`?"),
    ("subject.role == 'x'", "column 1: unknown name `subject.role`, did you mean `subject.roles`?"),
    ("data.portfolo[subject.id] == 1", "column 1: unknown name `data.portfolo`, did you mean `data.portfolio`?"),
    ("data.portfolo.alice == 1", "column 1: unknown name `data.portfolo`, did you mean `data.portfolio`?"),
    ("gold == 'gold'", "column 1: unknown name `gold`: a text is written in quotes, as in `'gold'`"),
    ("subject == 'alice'", None),
    ("lower('A') == 'a'", "column 1: unknown function `lower`"),
    ("subject.id == 1", "column 12: `==` does not apply to (string, int)"),
    ("subject.roles > 3", "column 15: `>` does not apply to (list(string), int)"),
    ("subject.id", "a condition must be true or false, this is of type string"),
    ("subject.claims.vip", "a condition must be true or false, this may be of any type: compare it, as in `… == true`"),
    ("subject.id ==", "column 14: syntax error: mismatched input `<EOF>`"),
    ("subject.id == 'a", None),
    ("true &&\n  request.foo", f"line 2 column 3: unknown name `request.foo`: {REQUEST}"),
    ("request.method.foo == 1", "column 15: expression of type `string` cannot be the operand of a select operation"),
    ("+".join("1" * 60) + " == 60", "nested too deeply: split it into several rules"),
    ("(" * 60 + "true" + ")" * 60, "nested too deeply: split it into several rules"),
    ("[1].all(a, [1].all(b, [1].all(c, a == b)))", "loops are nested 3 deep, at most 2 are possible"),
    ("true || " * MAX_LENGTH + "true", "longer than 4096 characters: put lists into a data file"),
]


@pytest.mark.parametrize(("text", "message"), GOLDEN)
def test_errors_say_where_and_what_would_be_right(conditions: Conditions, text: str, message: str | None) -> None:
    program, flaws = conditions.condition(text)
    assert program is None
    assert flaws
    if message is not None:
        assert [message] == [flaw.message for flaw in flaws]


def test_every_error_of_a_text_is_reported(conditions: Conditions) -> None:
    _, flaws = conditions.condition("request.foo == 'x' && subject.bar == 'y'")
    assert ["column 1", "column 23"] == [flaw.message.partition(":")[0] for flaw in flaws]


def test_without_data_files_the_error_says_so() -> None:
    _, flaws = Conditions({}).condition("subject.id in data.x")
    assert ["column 15: unknown name `data.x`: the bundle has no data file that conditions can read"] == [
        flaw.message for flaw in flaws
    ]


def test_a_big_file_that_is_used_as_a_whole_is_a_warning(conditions: Conditions) -> None:
    _, flaws = conditions.condition("data.big.exists(key, key == subject.id)")
    assert [("warning", True)] == [(flaw.severity, "`data.big` has 1000 entries" in flaw.message) for flaw in flaws]
    assert () == conditions.condition("subject.id in data.big && data.limits.exists(key, key == 'x')")[1]


def test_problems_carry_the_place_in_the_document() -> None:
    _, problems = compiled("{effect: allow, rules: [{}, {condition: request.foo}]}")
    assert messages(problems)[0].startswith("spec.rules.1.condition: column 1: unknown name `request.foo`")


def test_a_capture_that_no_pattern_makes_is_an_error() -> None:
    _, problems = compiled("{effect: allow, rules: [{to: [{paths: ['/{id}']}], condition: params.ida == 'x'}]}")
    assert ["spec.rules.0: `params.ida == 'x'` reads `params.ida` but nothing captures it, did you mean `id`?"] == (
        messages(problems)
    )


def test_equal_texts_are_compiled_once(conditions: Conditions) -> None:
    assert conditions.condition("1 == 1")[0] is conditions.condition("1 == 1")[0]


# --- totality

CONDITIONS = Conditions(DATA)


@pytest.mark.parametrize(
    "text",
    [
        "subject.claims.nothing == 1",
        "int(request.query.amount) / 0 == 1",
        "int(subject.id) == 1",
        "subject.id.matches('(')",
        "data.portfolio[subject.tenant] == 'x'",
        "data.count.x == 1",
        "subject.roles[9] == 'x'",
        "subject.claims.limit.size() == 1",
        "duration(subject.id) == duration('1s')",
        "9223372036854775807 + int(request.query.amount) > 0",
    ],
)
def test_errors_at_run_time_deny_in_a_deny_rule_and_do_not_match_in_an_allow_rule(text: str) -> None:
    request = a_request(path="/?amount=1")
    body = f'{{condition: "{text}"}}'
    allowed = verdict(rule("allow", body, data=DATA), request)
    assert (Reason.NO_POLICY_MATCHED, ("tried/rule-0",)) == (allowed.reason, allowed.condition_errors)
    denied = verdict(rule("deny", body, data=DATA), request)
    assert (Reason.CONDITION_ERROR, "tried") == (denied.reason, denied.policy)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ANY_TEXT = st.text(st.characters(), max_size=8)  # lone surrogates included


@settings(deadline=None)
@given(
    value=ANY_TEXT,
    query=st.text("ab=&%;+01Aé", max_size=12),
    claims=st.binary(max_size=20)
    | st.sampled_from([b"{}", b'{"limit":1e400}', b'{"limit":"\\ud800"}', b'{"limit":{}}']),
)
@example(value="\ud800", query="", claims=b"{}")
def test_evaluation_is_total(value: str, query: str, claims: bytes) -> None:
    """Whatever is sent, a condition is true, false or failed."""
    request = replace(a_request(headers=[("x-a", value)]), query=query, host=value)
    subject = replace(ALICE, id=value, roles=(value, value), claims=claims)
    for text in (
        "request.headers['x-a'] == subject.id && request.host in subject.roles",
        "subject.claims.limit > 3 || request.query.a == 'b'",
        "request.headers.exists(n, n.matches(request.host)) || subject.claims.size() > 1",
        "subject.id in data.portfolio || data.portfolio[subject.id].size() > 1 || has(data.limits.x)",
    ):
        program, flaws = CONDITIONS.condition(text)
        assert program is not None, flaws
        assert program.value(Asked(request, subject, value, NOW)) in (True, False, FAILED)


# --- lookups in data


def plain(text: str, values: dict[str, Any], data: dict[str, Any]) -> object:
    """The same expression by CEL alone, with the data handed over."""
    types = {name: variable.type for name, variable in VARIABLES.items()}
    env = cel.NewEnv(
        variables=types | {f"data.{name}": cel.Type.DYN for name in data}, extensions=[ext_strings.ExtStrings()]
    )
    try:
        result = env.compile(text).eval(data=values | {f"data.{name}": value for name, value in data.items()})
    except RuntimeError:
        return FAILED
    return FAILED if result.type() == cel.Type.ERROR else result.plain_value()


KEYS = st.one_of(
    st.sampled_from(
        ["'alice'", "'a'", "'b'", "'c1'", "0", "1", "-1", "9", "1u", "0.0", "1.5", "true", "null", "'key-3'"]
    ),
    st.sampled_from(["subject.id", "params.customer", "subject.claims.limit", "subject.claims.groups[0]", "1 / 0"]),
    st.just("data.portfolio.alice[0]"),
    st.just("data.limits[subject.id]"),
)
PATHS = st.builds(
    lambda root, links: (
        root + "".join(f".{link}" if link.isidentifier() and link != "true" else f"[{link}]" for link in links)
    ),
    st.sampled_from(["data.portfolio", "data.limits", "data.blocked", "data.big", "data.count"]),
    st.lists(st.sampled_from(["alice", "nested", "a", "b", "officer", "none"]) | KEYS, max_size=5),
)
EXPRESSIONS = st.one_of(
    st.builds("{} == {}".format, PATHS, KEYS | PATHS),
    st.builds("{} in {}".format, KEYS | PATHS, PATHS),
    st.builds("has({}.{})".format, PATHS, st.sampled_from(["alice", "b", "k", "officer"])),
    st.builds("{}.exists(k, k == {})".format, PATHS, KEYS),
    st.builds("[1, 2].exists(i, {}[i] == {})".format, PATHS, KEYS),
    st.builds("size({}) > 1 || {} in {}".format, PATHS, KEYS, PATHS),
    st.builds("({} == {}) ? {} in {} : true".format, PATHS, KEYS, KEYS, PATHS),
    st.builds("{}.map(data, data == {}).size() >= 0".format, PATHS, PATHS),
)


@settings(deadline=None, max_examples=400)
@given(text=EXPRESSIONS)
@example(text="'c1' in data.portfolio[subject.id]")
@example(text="true in data.blocked")
@example(text="1.0 in data.portfolio.nested.a.b")
@example(text="data.portfolio['alice'][subject.claims.limit] == 'x'")
@example(text="{'a': 1} in data.blocked && ['a'] in data.blocked && 7u in data.blocked && 7.0 in data.blocked")
@example(text="has(data.portfolio.alice.b)")
def test_lookups_answer_as_cel_does_on_the_data_itself(text: str) -> None:
    question = asked()
    values: dict[str, Any] = {
        "subject.id": "alice",
        "params": {"customer": "c1"},
        "subject.claims": question.claims,
    }
    program, flaws = CONDITIONS.condition(text)
    if program is None:  # CEL's checker refuses it, with or without lookups
        assert flaws
        return
    assert plain(text, values, DATA) == program.value(question)


def test_a_lookup_in_big_data_costs_what_it_costs_in_small_data() -> None:
    big = Conditions({"list": {f"key-{number}": ["x"] for number in range(100_000)}})
    small = Conditions({"list": {f"key-{number}": ["x"] for number in range(10)}})
    question = asked()

    def seconds(conditions: Conditions) -> float:
        program, _ = conditions.condition("'x' in data.list['key-3'] && !(subject.id in data.list)")
        assert program is not None
        best = 1.0
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(50):
                assert program.value(question) is True
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(big) < 3 * seconds(small)


def test_a_condition_reads_only_what_it_names() -> None:
    """Claims that are not JSON do not matter to a condition that does not read them."""
    made = rule("allow", "{condition: \"subject.id == 'alice'\"}")
    assert allows(made, a_request(), replace(ALICE, claims=b"not json"))


def test_a_loop_variable_may_be_called_like_one_of_ours() -> None:
    program, flaws = CONDITIONS.condition("[{'portfolio': {'x': 1}}].all(data, data.portfolio.x == 1)")
    assert program is not None, flaws
    question = asked()
    assert plain(program.text, {}, {}) == program.value(question)
