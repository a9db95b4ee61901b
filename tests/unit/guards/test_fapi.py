"""FAPI header rules by ecosystem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.guards import (
    FapiHeaders,
    FapiSpec,
    FinancialIdSpec,
    HeaderRuleSpec,
    Refusal,
    Tenant,
    compile_fapi,
)
from extauthz.guards.ecosystems import ECOSYSTEMS
from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from tests.fakes import FakeHeaders, a_request

NOW = 1_760_000_000
ID = ("x-fapi-interaction-id", "93bac548-d2de-4546-b106-880a5018460d")
DATE = ("x-fapi-auth-date", "Tue, 11 Sep 2012 19:43:31 GMT")
UTC_DATE = ("x-fapi-auth-date", "Sun, 10 Sep 2017 19:43:31 UTC")
ADDRESS = ("x-fapi-customer-ip-address", "2001:DB8::1893:25c8:1946")
VERSION = ("x-v", "2")
CLIENT_HEADERS = ("x-cds-client-headers", "TW96aWxsYQ==")

# For each ecosystem a request that has everything it asks for.
COMPLETE = {
    "fapi1-baseline": [ID, DATE, ADDRESS],
    "uk-obie-3.1.1": [ID, DATE, ADDRESS, ("x-fapi-financial-id", "0015800000jfwxXAAQ")],
    "uk-obie": [ID, UTC_DATE, ADDRESS],
    "cdr": [ID, DATE, ADDRESS, VERSION, CLIENT_HEADERS],
    "brazil": [ID, UTC_DATE, ADDRESS],
    "uae": [ID, UTC_DATE, ADDRESS],
    "ksa": [ID, DATE, ADDRESS],
}


def fapi(ecosystem: str, **spec: object) -> FapiHeaders:
    problems: list[Problem] = []
    compiled = compile_fapi(FapiSpec(ecosystem=ecosystem, **spec), problems, ("spec", "fapi"))
    assert problems == []
    assert compiled is not None
    return compiled


def check(ecosystem: str, headers: list[tuple[str, str]], **request: object) -> Refusal | None:
    return fapi(ecosystem).check_headers(a_request(headers=headers, **request), NOW)


def without(headers: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    return [header for header in headers if header[0] != name]


def problems_of(**spec: object) -> list[str]:
    problems: list[Problem] = []
    assert compile_fapi(FapiSpec(**spec), problems, ("spec", "fapi")) is None
    return [f"{'.'.join(map(str, problem.location))}: {problem.message}" for problem in problems]


@pytest.mark.parametrize("ecosystem", sorted(COMPLETE))
def test_a_request_with_every_header_passes(ecosystem: str) -> None:
    assert check(ecosystem, COMPLETE[ecosystem]) is None


REQUIRED = {
    ("brazil", "x-fapi-interaction-id"): "RS-01",
    ("cdr", "x-fapi-auth-date"): "x-fapi-auth-date",
    ("cdr", "x-v"): "x-v",
    ("cdr", "x-cds-client-headers"): "x-cds-client-headers",
    ("uk-obie-3.1.1", "x-fapi-financial-id"): "x-fapi-financial-id",
}


@pytest.mark.parametrize("ecosystem", sorted(COMPLETE))
def test_only_what_the_ecosystem_requires_is_missed(ecosystem: str) -> None:
    for name, _ in COMPLETE[ecosystem]:
        refusal = check(ecosystem, without(COMPLETE[ecosystem], name))
        check_id = REQUIRED.get((ecosystem, name))
        assert refusal == (check_id and Refusal(Reason.FAPI_HEADER_MISSING, check_id, "missing", name))


@pytest.mark.parametrize(
    ("ecosystem", "refused"),
    [("brazil", True), ("uk-obie", True), ("cdr", True), ("uae", False), ("fapi1-baseline", False)],
)
@pytest.mark.parametrize(
    "value", ["", "1", "00000000-0000-0000-0000-000000000000", "{93bac548-d2de-4546-b106-880a5018460d}"]
)
def test_rs_01_an_invalid_interaction_id_is_a_400_where_the_ecosystem_says_so(
    ecosystem: str, value: str, refused: bool
) -> None:
    headers = [*without(COMPLETE[ecosystem], ID[0]), (ID[0], value)]
    refusal = check(ecosystem, headers)
    assert (refusal is not None) == refused
    if refusal:
        assert (Reason.FAPI_HEADER_INVALID, "RS-01", ID[0]) == (refusal.reason, refusal.check, refusal.header)
        assert refusal.reason.status == 400


@pytest.mark.parametrize("ecosystem", ["uk-obie", "brazil", "uae", "ksa"])
def test_ecosystems_that_print_utc_accept_utc(ecosystem: str) -> None:
    headers = without(COMPLETE[ecosystem], UTC_DATE[0])
    assert check(ecosystem, [*headers, UTC_DATE]) is None
    assert check(ecosystem, [*headers, (UTC_DATE[0], "Sun, 10 Sep 2017 19:43:31 PST")]) is not None


@pytest.mark.parametrize("ecosystem", ["fapi1-baseline", "cdr"])
def test_the_others_accept_gmt_alone(ecosystem: str) -> None:
    headers = without(COMPLETE[ecosystem], UTC_DATE[0])
    assert check(ecosystem, [*headers, UTC_DATE]).header == "x-fapi-auth-date"


@pytest.mark.parametrize("ecosystem", sorted(COMPLETE))
@pytest.mark.parametrize("joined", [False, True])
def test_t_26_a_header_sent_twice_is_refused_in_both_header_modes(ecosystem: str, joined: bool) -> None:
    for name, value in COMPLETE[ecosystem]:
        refusal = check(ecosystem, [*COMPLETE[ecosystem], (name, value)], joined=joined)
        ignored = ECOSYSTEMS[ecosystem].get(name, HeaderRuleSpec()).invalid == "ignore"
        assert (refusal is None) == ignored
        assert refusal is None or (refusal.reason, refusal.header) == (Reason.FAPI_HEADER_INVALID, name)


class FirstOnly(FakeHeaders):
    """Shows the first of several lines, as careless parsers do."""

    def get(self, name: str) -> str | None:
        return next((value for key, value in self._lines if key == name), None)


def test_t_26_a_repeated_header_is_refused_even_if_only_one_of_its_lines_is_shown() -> None:
    bank = COMPLETE["uk-obie-3.1.1"]
    for header in bank:
        request = replace(a_request(), headers=FirstOnly([*bank, header]))
        assert fapi("uk-obie-3.1.1").check_headers(request, NOW).header == header[0]


def test_cdr_asks_for_the_client_headers_only_when_a_customer_is_present() -> None:
    headers = [ID, DATE, VERSION]
    assert check("cdr", headers) is None
    assert check("cdr", [*headers, ADDRESS]).header == "x-cds-client-headers"


def test_uae_requires_an_idempotency_key_on_payments_alone() -> None:
    key = ("x-idempotency-key", "k-1")
    assert check("uae", [ID], method="POST", path="/open-finance/v2/payments").header == "x-idempotency-key"
    assert check("uae", [ID, key], method="POST", path="/open-finance/v2/payments") is None
    assert check("uae", [ID], method="GET", path="/open-finance/v2/payments") is None
    assert check("uae", [ID], method="POST", path="/open-finance/v2/payments/p1") is None
    assert check("uae", [ID, (key[0], "k" * 41)]).reason is Reason.FAPI_HEADER_INVALID


@pytest.mark.parametrize(
    ("wanted", "oldest", "served"),
    [
        ("1", None, True),
        ("2", None, False),
        ("3", None, True),
        ("4", None, False),
        ("4", "3", True),
        ("2", "1", True),
        ("9", "4", False),
        ("2", "3", False),
        ("3", "9", True),
    ],
)
def test_cdr_negotiates_a_served_version_or_answers_406(wanted: str, oldest: str | None, served: bool) -> None:
    """Versions 1 and 3 are served; an x-min-v above x-v counts as absent."""
    headers = [ID, DATE, ("x-v", wanted)] + ([("x-min-v", oldest)] if oldest else [])
    refusal = fapi("cdr", versions=(1, 3)).check_headers(a_request(headers=headers), NOW)
    assert (refusal is None) == served
    if refusal:
        assert (406, "x-v") == (refusal.reason.status, refusal.header)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "01", "99999999999999999999"])
def test_cdr_a_version_that_is_no_positive_integer_is_a_400(value: str) -> None:
    refusal = fapi("cdr", versions=(1,)).check_headers(a_request(headers=[ID, DATE, ("x-v", value)]), NOW)
    assert Reason.FAPI_HEADER_INVALID is refusal.reason


ACME = Tenant("acme", "0015800000jfwxXAAQ")


@pytest.mark.parametrize(
    ("sent", "tenant", "reason"),
    [
        (["0015800000jfwxXAAQ"], ACME, None),
        (["0015800000JFWXXAAQ"], ACME, Reason.FAPI_FINANCIAL_ID_MISMATCH),
        (["0015800000ivBFrAAM"], ACME, Reason.FAPI_FINANCIAL_ID_MISMATCH),
        (["0015800000jfwxXAAQ"], Tenant("globex"), Reason.FAPI_FINANCIAL_ID_MISMATCH),
        (["0015800000jfwxXAAQ"], None, Reason.FAPI_FINANCIAL_ID_MISMATCH),
        ([], ACME, Reason.FAPI_HEADER_MISSING),
        ([""], Tenant("globex"), Reason.FAPI_HEADER_INVALID),
        (["0015800000jfwxXAAQ "], ACME, Reason.FAPI_HEADER_INVALID),
        (["0015800000jfwxXAAQ", "0015800000jfwxXAAQ"], ACME, Reason.FAPI_HEADER_INVALID),
        (["x" * 65], Tenant("long", "x" * 65), Reason.FAPI_HEADER_INVALID),
        (["x" * 64], Tenant("long", "x" * 64), None),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_the_financial_id_must_be_the_tenants_own(
    sent: list[str], tenant: Tenant | None, reason: Reason | None, joined: bool
) -> None:
    request = a_request(headers=[("x-fapi-financial-id", value) for value in sent], joined=joined)
    refusal = fapi("uk-obie-3.1.1").check_financial_id(request, tenant)
    assert reason is (refusal and refusal.reason)
    assert refusal is None or (400, "x-fapi-financial-id") == (refusal.reason.status, refusal.header)


def test_the_financial_id_is_off_unless_asked_for() -> None:
    for ecosystem in set(COMPLETE) - {"uk-obie-3.1.1"}:
        wrong = a_request(headers=[*COMPLETE[ecosystem], ("x-fapi-financial-id", "nobody's")])
        assert fapi(ecosystem).check_headers(wrong, NOW) is None
        assert fapi(ecosystem).check_financial_id(wrong, ACME) is None


def test_an_optional_financial_id_may_be_absent_but_not_wrong() -> None:
    optional = fapi("uk-obie", financial_id=FinancialIdSpec(required=False, header="x-bank"))
    assert optional.check_financial_id(a_request(), ACME) is None
    assert optional.check_financial_id(a_request(headers=[("x-bank", ACME.financial_id)]), ACME) is None
    assert optional.check_financial_id(a_request(headers=[("x-bank", "other")]), ACME) is not None


def test_custom_rules_are_all_there_is_in_the_custom_ecosystem() -> None:
    rules = {
        "x-channel": HeaderRuleSpec(required=True, methods=("POST",), values=("mobile", "branch")),
        "x-fapi-interaction-id": HeaderRuleSpec(format="uuid-v4", required=True),
    }
    custom = fapi("custom", headers=rules)
    assert custom.check_headers(a_request(headers=[ID]), NOW) is None
    assert custom.check_headers(a_request("POST", headers=[ID]), NOW).header == "x-channel"
    assert custom.check_headers(a_request("POST", headers=[ID, ("x-channel", "fax")]), NOW).header == "x-channel"
    assert custom.check_headers(a_request("POST", headers=[ID, ("x-channel", "branch")]), NOW) is None
    assert custom.check_headers(a_request(headers=[]), NOW).check == "RS-01"


def test_a_profiles_rule_replaces_the_ecosystems() -> None:
    strict = fapi("uk-obie", headers={"x-fapi-interaction-id": HeaderRuleSpec(format="uuid", required=True)})
    assert strict.check_headers(a_request(), NOW).reason is Reason.FAPI_HEADER_MISSING


any_header = st.tuples(
    st.sampled_from(sorted({name for table in ECOSYSTEMS.values() for name in table} | {"x-fapi-financial-id"})),
    st.text(max_size=80) | st.sampled_from([value for rows in COMPLETE.values() for _, value in rows]),
)


@given(st.sampled_from(sorted(COMPLETE)), st.lists(any_header, max_size=12), st.booleans(), st.integers(0, 2**34))
def test_any_headers_get_an_answer_that_never_repeats_a_value(
    ecosystem: str, headers: list[tuple[str, str]], joined: bool, now: int
) -> None:
    compiled = fapi(ecosystem, **({"versions": (1, 2)} if ecosystem == "cdr" else {}))
    request = a_request("POST", "/payments", headers=headers, joined=joined)
    for refusal in (compiled.check_headers(request, now), compiled.check_financial_id(request, ACME)):
        assert refusal is None or refusal.reason.name.startswith("FAPI_")
        assert refusal is None or refusal.detail in {
            "missing",
            "sent more than once",
            "malformed, or sent more than once",
            "not the id registered for the tenant",
            "not a version that is served",
        }


@given(st.sampled_from(sorted(COMPLETE)), st.lists(any_header, max_size=8, unique_by=lambda header: header[0]))
def test_both_header_modes_agree(ecosystem: str, headers: list[tuple[str, str]]) -> None:
    doubled = headers + headers[:2]
    answers = [
        fapi(ecosystem).check_headers(a_request(headers=doubled, joined=joined), NOW) for joined in (False, True)
    ]
    assert [answer and (answer.reason, answer.header) for answer in answers[:1]] == [
        answer and (answer.reason, answer.header) for answer in answers[1:]
    ]


def test_an_unknown_ecosystem_is_named_with_what_was_probably_meant() -> None:
    assert problems_of(ecosystem="uk-obi") == [
        "spec.fapi.ecosystem: unknown ecosystem `uk-obi`, did you mean `uk-obie`?"
    ]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"X-Channel": HeaderRuleSpec()}, "`X-Channel` is not a lower-case header name: write `x-channel`"),
        ({"x channel": HeaderRuleSpec()}, "`x channel` is not a lower-case header name: write a field name such as"),
        ({"x-a": HeaderRuleSpec(format="uid")}, "unknown format `uid`, did you mean `uuid`?"),
        ({"x-a": HeaderRuleSpec(required=True, methods=("post",))}, "`post` is not an upper-case method: write `POST`"),
        ({"x-a": HeaderRuleSpec(required=True, paths=("payments",))}, "path pattern `payments` must begin with `/`"),
        ({"x-a": HeaderRuleSpec(methods=("POST",))}, "say where the header is required: add `required: true`"),
        ({"x-a": HeaderRuleSpec(required=True, invalid="ignore")}, "a required header cannot be ignored"),
        ({"authorization": HeaderRuleSpec()}, "`authorization` cannot have a rule of its own"),
        ({}, "ecosystem `custom` has no rules of its own: write `headers`"),
    ],
)
def test_a_rule_that_cannot_work_is_a_problem(headers: dict[str, HeaderRuleSpec], problem: str) -> None:
    (found,) = problems_of(ecosystem="custom", headers=headers)
    assert found.startswith("spec.fapi.headers")
    assert problem in found


def test_versions_need_a_version_header() -> None:
    (found,) = problems_of(ecosystem="uk-obie", versions=(1,))
    assert "`versions` needs `x-v` with format `positive-integer`" in found


def test_the_financial_id_has_one_place() -> None:
    rules = {"x-fapi-financial-id": HeaderRuleSpec()}
    (found,) = problems_of(ecosystem="uk-obie", headers=rules, financial_id=FinancialIdSpec())
    assert "has its rule in `financialId`" in found


LINES = st.lists(
    st.tuples(
        st.sampled_from(["x-fapi-interaction-id", "x-fapi-auth-date", "x-fapi-customer-ip-address", "x-v", "x-other"]),
        st.one_of(
            st.sampled_from(["", ",", ID[1], ID[1].upper(), f"{ID[1]},", "0" * 36, DATE[1], UTC_DATE[1], ADDRESS[1]]),
            st.text(max_size=40),
        ),
    ),
    max_size=5,
)


@given(LINES, st.booleans(), st.sampled_from([*ECOSYSTEMS]), st.sampled_from(["", ID[1], "0" * 36]))
def test_whatever_is_sent_the_profile_refuses_what_its_first_rule_refuses_that_does(
    lines: list[tuple[str, str]], joined: bool, ecosystem: str, seen: str
) -> None:
    """Also when the reader has found the interaction id to be good, and when values come a second time."""
    if ecosystem == "custom":
        return
    rules = fapi(ecosystem)
    request = a_request(headers=lines, joined=joined)
    expected = [refusal for rule in rules.rules if (refusal := rule.refuse(request, NOW))]
    sent = request.headers.get("x-fapi-interaction-id")
    good = seen == sent and seen != "0" * 36 and not request.headers.is_repeated("x-fapi-interaction-id")
    read = replace(request, facts=replace(request.facts, interaction_id=seen if good else ""))
    for _ in range(2):
        found = replace(rules, financial_id=None).check_headers(read, NOW)
        assert (expected[0] if expected else None) == found
