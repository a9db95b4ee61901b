"""Small stand-ins that several rooms' tests share."""

from collections.abc import Iterable

from msgspec.structs import replace

from extauthz.model.decision import Allow, Decision, Evidence
from extauthz.model.paths import Path, canonicalise
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Facts, Peer, Request
from extauthz.model.subject import Subject

NOBODY = Peer()


class FakeHeaders:
    """Request headers from lines, as `header_map` mode shows them; `joined` as the other mode does."""

    def __init__(self, lines: Iterable[tuple[str, str]] = (), *, joined: bool = False) -> None:
        self._lines = list(lines)
        self._joined = joined

    def get(self, name: str) -> str | None:
        values = [value for key, value in self._lines if key == name]
        return ",".join(values) if values else None

    def is_repeated(self, name: str) -> bool:
        return not self._joined and len([key for key, _ in self._lines if key == name]) > 1

    def among(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self.get(name) is not None]

    def items(self) -> list[tuple[str, str]]:
        return sorted({(name, self.get(name) or "") for name, _ in self._lines})


def a_request(
    method: str = "GET",
    path: str = "/",
    *,
    host: str = "api.bank.test",
    headers: Iterable[tuple[str, str]] = (),
    joined: bool = False,
    source: Peer = NOBODY,
    destination: Peer = NOBODY,
) -> Request:
    """A request as `wire.inbound` would have read it."""
    found = canonicalise(path)
    assert isinstance(found, Path), found
    return Request(
        facts=Facts(method=method, host=host, source=source, destination=destination),
        method=method,
        host=host,
        port=0,
        scheme="https",
        path=found.text,
        segments=found.segments,
        query=found.query,
        headers=FakeHeaders(headers, joined=joined),
        source=source,
        destination=destination,
        raw_path=path.partition("?")[0],
    )


def a_record(number: int = 1, decision: Decision | None = None, **fields: object) -> DecisionRecord:
    """What the handler hands to journal, metrics and spans; `fields` replaces what matters to a test."""
    caller = Subject(
        issuer="https://login.bank.test",
        id="6f0c2f5e-1b7a-4c7e-9a51-0d3f5f0f8c11",
        issuer_name="keycloak",
        client="teller-app",
        tenant="acme",
        roles=("banking-officer",),
        token_id="jti-1",
        key_id="key-1",
    )
    seen = Evidence(
        subject=caller, profile="open-banking", tenant="acme", policy="customers", rule="read", route="/api/{id}"
    )
    facts = Facts(
        request_id="17c1f2",
        method="GET",
        host="api.bank.test",
        source=Peer("10.0.0.7", 4711, "spiffe://cluster.local/ns/web/sa/front"),
        client_address="203.0.113.9",
    )
    record = DecisionRecord(
        decision_id=f"decision-{number}",
        interaction_id="c2a7b3a0-5d4e-4f1a-9d4e-0d3f5f0f8c11",
        interaction_id_source="client",
        time=1_795_000_000.25,
        duration=0.0004,
        revision="2026-11",
        digest="ab" * 32,
        facts=facts,
        decision=decision or Allow(evidence=seen),
        status=200,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return replace(record, **fields)
