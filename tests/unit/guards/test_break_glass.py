"""Break glass: opens for exactly whom, what, where and when it says; what it takes as a request."""

from typing import Any

import msgspec
import pytest

from extauthz.guards import AsListed, BreakGlassSpec, Glass, check_subjects, compile_routes, in_force, listed
from extauthz.guards.spans import MAX_SECONDS, wrong_span
from extauthz.model.moment import Moment, exactly
from extauthz.model.problems import Problem
from extauthz.model.request import Request
from extauthz.model.subject import ANONYMOUS, Subject
from tests.fakes import a_request

NOW = 1_800_000_000
IDP = "https://idp.test"
CALLER = Subject(issuer=IDP, id="u1", tenant="acme", roles=("clerk",))


def routes(*specs: dict[str, Any]) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    spec = msgspec.convert({"subjects": [], "routes": list(specs)}, BreakGlassSpec)
    return compile_routes(spec.routes, problems, ("routes",)), problems


LOANS, _ = routes({"host": "api.test", "path": "/loans/{id}", "methods": ["GET", "POST"]})


def a_glass(**fields: Any) -> Glass:
    whole = {
        "id": "g-1",
        "subjects": frozenset({(IDP, "u1")}),
        "roles": frozenset(),
        "routes": LOANS,
        "begin": NOW,
        "end": NOW + 60,
    }
    return Glass(**whole | fields)


def a_loan(**fields: Any) -> Request:
    return a_request(**{"path": "/loans/7", "host": "api.test"} | fields)


def opens(glass: Glass, request: Request | None = None, subject: Subject = CALLER, now: int = NOW) -> bool:
    return glass.opens(request or a_loan(), subject, subject.tenant, exactly(now))


def test_it_opens_what_it_names() -> None:
    assert opens(a_glass())
    assert "/loans/{id}" == a_glass().pattern(a_loan())
    assert opens(a_glass(), a_loan(method="POST"))
    assert opens(a_glass(subjects=frozenset(), roles=frozenset({(IDP, "clerk")})))
    assert opens(a_glass(tenant="acme"))


@pytest.mark.parametrize(
    "request_",
    [
        a_loan(method="PUT"),
        a_loan(method="HEAD"),
        a_loan(host="web.test"),
        a_loan(host="x.api.test"),
        a_loan(path="/loans"),
        a_loan(path="/loans/7/x"),
        a_loan(path="/Loans/7"),
    ],
)
def test_no_other_request(request_: Request) -> None:
    assert not opens(a_glass(), request_)
    assert "" == a_glass().pattern(request_)


@pytest.mark.parametrize(
    "subject",
    [
        ANONYMOUS,
        Subject(issuer=IDP, id="u2"),
        Subject(issuer="https://other.test", id="u1"),
        Subject(issuer="", id="u1"),
        Subject(issuer=IDP, id="u1", actors=("robot",)),
        Subject(issuer=IDP, id="u2", actors=("u1",)),
        Subject(issuer=IDP, id="u2", roles=("u1",)),
        Subject(issuer=IDP, id="u2", client="u1"),
    ],
)
def test_no_other_caller_not_even_somebody_who_acts_for_them(subject: Subject) -> None:
    """JWT-21: a name that another issuer could give is another name."""
    assert not opens(a_glass(), subject=subject)


def test_jwt_21_a_role_is_its_issuers() -> None:
    glass = a_glass(subjects=frozenset(), roles=frozenset({(IDP, "clerk")}))
    assert not opens(glass, subject=Subject(issuer="https://other.test", id="u1", roles=("clerk",)))
    assert not opens(glass, subject=Subject(issuer=IDP, id="clerk"))


def test_no_other_tenant() -> None:
    glass = a_glass(tenant="acme")
    assert not glass.opens(a_loan(), CALLER, "globex", exactly(NOW))
    assert not glass.opens(a_loan(), CALLER, "", exactly(NOW))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (exactly(NOW - 1), False),
        (exactly(NOW), True),
        (exactly(NOW + 59), True),
        (exactly(NOW + 60), False),
        (Moment(NOW - 1, NOW), False),
        (Moment(NOW + 59, NOW + 60), False),
        (Moment(NOW, NOW + 59), True),
    ],
)
def test_it_is_open_only_while_every_clock_says_so(moment: Moment, expected: bool) -> None:
    assert expected == a_glass().opens(a_loan(), CALLER, "acme", moment)


def test_a_drill_is_found_only_where_nothing_opens() -> None:
    real, drill = a_glass(id="real"), a_glass(id="drill", drill=True)
    for glasses, expected in (
        ((drill, real), "real"),
        ((real, drill), "real"),
        ((drill,), "drill"),
        ((a_glass(end=NOW),), ""),
    ):
        for bundle, orders in ((listed((), glasses), listed(())), (listed(()), listed((), glasses))):
            emergencies = in_force(bundle, AsListed(orders), NOW)
            assert emergencies is not None
            found = emergencies.find_opened(a_loan(), CALLER, "acme")
            assert expected == (found.id if found else "")


def test_where_nothing_is_listed_nothing_is_asked() -> None:
    assert in_force(listed(()), AsListed(), NOW) is None


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"host": "*", "path": "/a", "methods": ["GET"]}, "`*` must be one host: each that is opened is named"),
        ({"host": "{t}.test", "path": "/a", "methods": ["GET"]}, "`{t}.test` must be one host: each that is opened is named"),
        ({"host": "API.test", "path": "/a", "methods": ["GET"]}, "host pattern `API.test` must be written `api.test`"),
        ({"host": "api.test", "path": "/*/a", "methods": ["GET"]}, "`/*/a` must begin with a literal segment, as in `/api/loans/**`"),
        ({"host": "api.test", "path": "a", "methods": ["GET"]}, "path pattern `a` must begin with `/`"),
        ({"host": "api.test", "path": "/a", "methods": []}, "name the methods, e.g. `[GET]`"),
        ({"host": "api.test", "path": "/a", "methods": ["*"]}, "`*` is not an upper-case method: write one such as `GET`"),
    ],
)  # fmt: skip
def test_what_is_opened_is_named_and_narrow(route: dict[str, Any], message: str) -> None:
    assert message in [problem.message for problem in routes(route)[1]]


def test_the_root_may_be_opened() -> None:
    found, problems = routes({"host": "api.test", "path": "/", "methods": ["GET"]})
    assert ([], 1) == (problems, len(found))


@pytest.mark.parametrize(
    "subject", [{"issuer": IDP}, {"issuer": IDP, "id": "a", "roles": ["b"]}, {"issuer": "", "id": "a"}, {"issuer": IDP, "id": "a\n"}, {"issuer": IDP, "roles": ["x" * 513]}]
)  # fmt: skip
def test_who_is_let_in_is_somebody(subject: dict[str, Any]) -> None:
    problems: list[Problem] = []
    check_subjects(msgspec.convert({"subjects": [subject], "routes": []}, BreakGlassSpec).subjects, problems, ())
    assert 1 == len(problems)


def test_no_more_than_64_of_each() -> None:
    many = {"host": "api.test", "path": "/a", "methods": ["GET"]}
    assert "name 1 to 64 routes" in routes(*[many] * 65)[1][0].message
    problems: list[Problem] = []
    subjects = msgspec.convert({"subjects": [{"issuer": IDP, "id": "a"}] * 65, "routes": []}, BreakGlassSpec).subjects
    check_subjects(subjects, problems, ())
    assert "name 1 to 64 subjects" == problems[0].message


@pytest.mark.parametrize("kind", MAX_SECONDS)
def test_every_kind_has_a_longest_span_and_none_has_no_end(kind: Any) -> None:
    assert "" == wrong_span(kind, NOW, NOW + MAX_SECONDS[kind])
    assert "at most" in wrong_span(kind, NOW, NOW + MAX_SECONDS[kind] + 1)
    assert "must be after `begin`" == wrong_span(kind, NOW, NOW)
