"""What a record keeps for replay, and that nothing of a request gets into it but by a pseudonym."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import ValidationError, convert

from extauthz.generated.extauthz.v1.journal_pb2 import Record
from extauthz.journal.chain import GENESIS, seal
from extauthz.journal.options import JournalOptions
from extauthz.wire import InboundOptions, read_check
from tests.documents import SIGNED
from tests.engine import Engine
from tests.properties.recording import NOW, decide, record

BUNDLE = (
    SIGNED
    + """---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: bank}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {mode: optional, issuers: [bank]}
  fapi: {ecosystem: custom, headers: {x-kind: {format: text}}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: p}
spec:
  effect: allow
  rules:
  - name: own
    from: [{remoteIpBlocks: [10.0.0.0/8]}]
    to: [{paths: ["/customers/{customer}/**"]}]
    condition: >-
      params.customer == subject.id && request.headers["x-owner"] == request.query.owner
      && subject.claims.department == "loans" && subject.claims.limit > 5 && subject.claims.vip
  - name: other
    when: [{key: "request.headers[authorization]", notValues: [x]}, {key: "request.headers[cookie]", notValues: [x]}]
"""
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine({"bundle.yaml": BUNDLE.encode()})


def written(engine: Engine, clear: tuple[str, ...] = (), **more: Any) -> tuple[dict[str, Any], bytes]:
    """What is kept of a request, and the event."""
    raw: list[bytes] = []

    def change(check: Any) -> None:
        check.attributes.source.address.socket_address.address = "203.0.113.9"
        raw.append(check.SerializeToString())

    engine.ask(**({"path": "/customers/u-1/x", "host": "api.test"} | more), change=change)
    asked = read_check(raw[0], InboundOptions())
    _, event = record(asked, decide(asked, engine.world, NOW), engine.world, clear)
    read: dict[str, Any] = json.loads(event)["decision"]["read"]
    return read, event


def token(engine: Engine, **claims: Any) -> str:
    usual = {"iss": "https://idp.test", "aud": "bank", "sub": "u-1", "exp": NOW + 600, "iat": NOW, "client_id": "c"}
    return engine.sign("bank", usual | claims, {"typ": "at+jwt"})


def test_the_compiler_says_what_is_kept_and_credentials_never_are(engine: Engine) -> None:
    keeping = engine.world.keeping
    assert ("x-owner",) == keeping.headers
    assert {"x-kind"} == keeping.marked
    assert ("owner",) == keeping.query
    assert {"department", "limit", "vip"} == set(keeping.claims)
    assert ("remote.address",) == keeping.others
    assert {"customers"} == keeping.literals


def test_equal_values_have_one_pseudonym_wherever_they_stand(engine: Engine) -> None:
    read, _ = written(engine, token=token(engine), headers={"x-owner": "u-1"}, path="/customers/u-1/x?owner=u-1")
    (first, name, _) = read["path"].split("/")
    assert "customers" == first
    assert {name} == {read["caller"]["subject"], read["headers"]["x-owner"], read["query"]["owner"]}


def test_no_value_is_in_the_clear_but_truth_and_what_is_listed(engine: Engine) -> None:
    claims = {"department": "loans-7", "limit": 4711, "vip": True, "nickname": "Sam"}
    asked = {"token": token(engine, **claims), "headers": {"x-owner": "Rivers", "cookie": "s=1", "x-kind": "k-9"}}
    read, event = written(engine, **asked, path="/customers/u-1/letters?owner=Miller&other=z")
    secrets = (
        b"u-1",
        b"loans-7",
        b"4711",
        b"Sam",
        b"Rivers",
        b"Miller",
        b"s=1",
        b"k-9",
        b"letters",
        b"203.0.113.9",
        b"eyJ",
    )
    assert [] == [secret for secret in secrets if secret in event]
    assert {"limit": "#", "vip": "=true"}.items() <= read["caller"]["claims"].items()
    assert "?" == read["headers"]["x-kind"]
    assert read["values"]["remote.address"].endswith("@11.0.0.0-255.255.255.255")
    listed, _ = written(engine, ("request.headers[x-owner]", "request.auth.claims[limit]"), **asked)
    assert '="Rivers"' == listed["headers"]["x-owner"]
    assert "=4711" == listed["caller"]["claims"]["limit"]


def test_an_address_has_the_range_of_the_bundle_that_decided_not_of_one_before() -> None:
    found = []
    for block in ("10.0.0.0/8", "203.0.0.0/16", "10.0.0.0/8"):
        read, _ = written(Engine({"bundle.yaml": BUNDLE.replace("10.0.0.0/8", block).encode()}))
        found.append(read["values"]["remote.address"].partition("@")[2])
    assert ["11.0.0.0-255.255.255.255", "203.0.0.0-203.0.255.255", "11.0.0.0-255.255.255.255"] == found


def test_a_header_that_may_be_two_a_long_one_and_a_strange_one_are_only_there(engine: Engine) -> None:
    for value in ("a,b", "x" * 513, "a\u2028b"):
        assert "?" == written(engine, headers={"x-owner": value})[0]["headers"]["x-owner"]


def test_what_is_absent_was_looked_for(engine: Engine) -> None:
    read, _ = written(engine)
    assert "headers" not in read
    assert ["x-owner", "x-kind"] == read["profile"]["headers"]
    assert ["owner"] == read["profile"]["query"]


def test_a_request_without_a_single_reading_keeps_nothing(engine: Engine) -> None:
    assert {"kind": "refused"} == written(engine, path="//x")[0]


@pytest.mark.parametrize("name", ["authorization", "Cookie", "dpop", "proxy-authorization"])
def test_no_credential_can_be_listed(name: str) -> None:
    with pytest.raises(ValidationError, match="holds a credential"):
        convert({"replay": "attributes", "replayClear": [f"request.headers[{name}]"]}, JournalOptions)


def test_no_query_value_can_be_listed_and_a_list_is_for_what_is_on() -> None:
    with pytest.raises(ValidationError, match="regex"):
        convert({"replay": "attributes", "replayClear": ["request.query[amount]"]}, JournalOptions)
    with pytest.raises(ValidationError, match="set `replay: attributes`"):
        convert({"replayClear": ["request.headers[x-a]"]}, JournalOptions)


texts = st.text(max_size=30)
safe = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='#\\;%?&"<>^`{|}!'), min_size=1, max_size=9
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(owner=texts, segment=safe, claim=st.one_of(texts, st.integers(), st.booleans(), st.lists(texts, max_size=2)))
def test_whatever_is_kept_the_schema_reads_it(engine: Engine, owner: str, segment: str, claim: Any) -> None:
    more: dict[str, Any] = {"headers": {"x-owner": owner.encode("utf-8", "replace").decode()}}
    token_ = token(engine, department=claim)
    _, event = written(engine, ("request.auth.claims[department]",), token=token_, path=f"/customers/{segment}", **more)
    line, _ = seal(7, b"2026-11-23T11:00:00.000000Z", event, GENESIS)
    assert 1 == line.count(b"\n")
    read = Parse(line, Record()).event.decision.read
    assert read.profile.identity or read.kind == "refused"
