"""For any mix of emergencies and requests: no freeze is ever lifted, and break glass opens what it names and nothing else."""

import time
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle.approvals import GlassRequest
from extauthz.bundle.emergencies import FreezeSpec, compile_glass, read_freeze
from extauthz.bundle.revocations import Known, issuer_names
from extauthz.guards import AsListed, Entry, Glass, Listed, listed
from extauthz.model.decision import Allow, Decision
from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from tests.engine import Engine
from tests.unit.bundle.small_bundle import TENANCY, files

NOW = int(time.time())
BY_POLICY = {Reason.NO_POLICY_MATCHED, Reason.POLICY_DENIED, Reason.CONDITION_ERROR, Reason.SCOPE_INSUFFICIENT}
CLOSED = """\
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: closed}
spec: {effect: deny, rules: [{name: vault, to: [{paths: ["/api/{tenant}/vault/**"]}]}]}
"""
GRANT = "spec:\n  tenants: data.tenants\n  crossTenant: [{name: support, roles: [support], methods: [GET]}]\n"
ENGINE = Engine(
    files(tests__staff=None, closed=CLOSED, tenancy=TENANCY.replace("spec: {tenants: data.tenants}\n", GRANT))
)
KNOWN = Known(issuer_names(ENGINE.issuers.values()), ENGINE.world.tenants)
IDP = "https://idp.bank.test"


class Asked(Struct, frozen=True):
    """One request."""

    subject: str
    tenant: str
    role: str
    client: str
    actor: str
    method: str
    segments: tuple[str, str, str]  # tenant, resource, id
    age: int  # of the token, seconds; more than 300 is too old

    @property
    def path(self) -> str:
        return "/api/" + "/".join(self.segments)


asked_of = st.builds(
    Asked,
    subject=st.sampled_from(["u1", "u2"]),
    tenant=st.sampled_from(["acme", "globex"]),
    role=st.sampled_from(["officer", "support", "nobody"]),
    client=st.sampled_from(["app", "web"]),
    actor=st.sampled_from(["", "", "robot"]),
    method=st.sampled_from(["GET", "POST"]),
    segments=st.tuples(
        st.sampled_from(["acme", "globex"]), st.sampled_from(["accounts", "loans", "Loans", "vault"]), st.just("7")
    ),
    age=st.sampled_from([60, 60, 60, 900]),
)
spans = st.sampled_from([(-100, 100), (-100, -1), (1, 100), (0, 1), (-1, 0)])
targets = st.sampled_from(
    [
        {"everything": True},
        {"tenant": "acme"},
        {"client": "app"},
        {"subject": "u1", "issuer": "bank"},
        {"route": {"path": "/api/*/loans/**"}},
        {"route": {"path": "/api/acme/**", "methods": ["POST"]}},
        {"route": {"host": "api.bank.test"}},
    ]
)
glasses = st.fixed_dictionaries(
    {
        "subjects": st.lists(
            st.sampled_from(
                [
                    {"issuer": IDP, "id": "u1"},
                    {"issuer": IDP, "id": "u2"},
                    {"issuer": IDP, "roles": ["nobody", "support"]},
                ]
            ),
            min_size=1,
            max_size=2,
        ),
        "routes": st.lists(
            st.sampled_from(
                [
                    {"host": "api.bank.test", "path": "/api/{tenant}/loans/**", "methods": ["GET", "POST"]},
                    {"host": "api.bank.test", "path": "/api/acme/**", "methods": ["GET"]},
                    {"host": "api.bank.test", "path": "/api/*/vault/7", "methods": ["POST"]},
                    {"host": "web.bank.test", "path": "/api/**", "methods": ["GET", "POST"]},
                ]
            ),
            min_size=1,
            max_size=2,
        ),
        "tenant": st.sampled_from(["acme", "globex"]),
    }
)


@st.composite
def frozen(draw: Any) -> Entry:
    begin, end = draw(spans)
    problems: list[Problem] = []
    spec = msgspec.convert(draw(targets), FreezeSpec)
    draft = Entry(selector="everything", value="", begin=NOW + begin, until=NOW + end, emergency="frozen")
    entry = read_freeze(spec, draft, KNOWN, problems, ())
    assert entry is not None, problems
    return entry


@st.composite
def opened(draw: Any) -> Glass:
    begin, end = draw(spans)
    times = {"begin": f"{_text(NOW + begin)}", "end": f"{_text(NOW + end)}"}
    why = {"id": "opened", "ticket": "INC-1", "justification": "x", "drill": draw(st.booleans())}
    request = msgspec.convert({"breakGlass": draw(glasses), **times, **why}, GlassRequest)
    problems: list[Problem] = []
    glass = compile_glass(request, KNOWN, problems, ())
    assert glass is not None, problems
    return glass


def _text(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@cache
def token(asked: Asked) -> str:
    claims: dict[str, Any] = {
        "iss": IDP, "aud": "bank", "sub": asked.subject, "client_id": asked.client, "iat": NOW - asked.age,
        "exp": NOW - asked.age + 600, "tenant_id": asked.tenant, "roles": [asked.role], "limit": 10,
    }  # fmt: skip
    if asked.actor:
        claims["act"] = {"sub": asked.actor}
    return ENGINE.sign("bank", claims, {"typ": "at+jwt"})


def decide(asked: Asked, bundle: Listed, ordered: Listed) -> Decision:
    ENGINE.world = replace(ENGINE.world, emergencies=bundle, orders=AsListed(ordered))
    found = ENGINE.ask(asked.path, method=asked.method, host="api.bank.test", token=token(asked))
    return found.decision


NOTHING = listed(())


def freezes(entry: Entry, asked: Asked) -> bool:
    """What a freeze means, spelled out."""
    if not entry.begin <= NOW < entry.until:
        return False
    match entry.selector:
        case "everything":
            return True
        case "tenant":
            return entry.value in {asked.tenant, asked.segments[0]}
        case "client":
            return entry.value == asked.client
        case "subject":
            return entry.value in {asked.subject, asked.actor}
        case _:
            path, method = asked.path.lower(), asked.method
            return {
                "*/api/*/loans/**": "/loans/" in path,
                "POST */api/acme/**": path.startswith("/api/acme/") and method == "POST",
                "api.bank.test/**": True,
            }[entry.value]


def opens(glass: Glass, asked: Asked) -> bool:
    """What a break glass means, spelled out."""
    named = (IDP, asked.subject) in glass.subjects or (IDP, asked.role) in glass.roles
    routes = {
        "/api/{tenant}/loans/**": asked.segments[1] == "loans",
        "/api/acme/**": asked.segments[0] == "acme" and asked.method == "GET",
        "/api/*/vault/7": asked.segments[1] == "vault" and asked.method == "POST",
        "/api/**": False,  # of another host
    }
    return (
        named
        and not asked.actor
        and glass.begin <= NOW < glass.end
        and glass.tenant == asked.segments[0]
        and any(routes[route.path.text] for route in glass.routes)
    )


@settings(deadline=None, max_examples=200)
@given(asked_of, st.lists(frozen(), max_size=3), st.lists(opened(), max_size=3), st.booleans())
def test_no_freeze_is_ever_lifted_and_break_glass_opens_what_it_names_and_nothing_else(
    asked: Asked, entries: list[Entry], glass: list[Glass], ordered: bool
) -> None:
    """Wherever they stand: in the bundle, or ordered at run time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.engine.time.time", lambda: NOW)
        without = decide(asked, NOTHING, NOTHING)
        place = listed(entries, tuple(glass))
        found = decide(asked, NOTHING, place) if ordered else decide(asked, place, NOTHING)
    freeze = any(freezes(entry, asked) for entry in entries)
    real = any(opens(each, asked) for each in glass if not each.drill)
    drill = any(opens(each, asked) for each in glass if each.drill)
    if freeze:
        assert not isinstance(found, Allow)
        # What comes before the caller is known, or is known not to be let in, may be told instead.
        assert found.reason is Reason.EMERGENCY_DENIED or found.reason == without.reason
    elif without.reason in BY_POLICY and real:
        assert (Reason.BREAK_GLASS_ALLOWED, "opened", "break_glass") == (
            found.reason,
            found.evidence.emergency,
            found.evidence.emergency_kind,
        )
    else:
        assert (without.reason, without.evidence.tenant) == (found.reason, found.evidence.tenant)
        assert ("drill" if without.reason in BY_POLICY and drill else "") == found.evidence.emergency_kind
    if isinstance(found, Allow) and not isinstance(without, Allow):
        assert without.reason in BY_POLICY, "no guard is lifted"
        assert real
        assert found.evidence.tenant == asked.segments[0]
