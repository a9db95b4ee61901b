"""Sends the demo's requests through Envoy and compares what came with what must come.

The reason is the one in Envoy's access log (the dynamic metadata that Envoy received); the explanation is the
journal's record of the same decision, and both must agree.
"""

import http.client
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from extauthz.cli.demo_requests import Ask
from extauthz.cli.demo_stack import Stack
from extauthz.cli.demo_tokens import Minter
from extauthz.journal.chain import parse_line
from extauthz.journal.record import DecisionEvent, read_decision
from extauthz.model.paths import Ambiguous, canonicalise
from extauthz.model.reasons import Reason

DECISION_HEADER = "x-authz-decision-id"
INTERACTION_HEADER = "x-fapi-interaction-id"
_LOG_SECONDS = 5.0  # Envoy writes its access log a little after the answer
_WORDS = {reason.code: reason.words for reason in Reason}


class Outcome(Struct, frozen=True):
    """What came of one request. `faults` is empty when it is what must come."""

    ask: Ask
    status: int
    reason: str
    decision_id: str
    milliseconds: float
    explanation: str  # why it was denied; "" for an allow
    faults: tuple[str, ...]


class _Answer(Struct, frozen=True):
    ask: Ask
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    milliseconds: float

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def decision_id(self) -> str:
        return next(iter(self.values(DECISION_HEADER)), "")


def run(asks: Iterable[Ask], stack: Stack, minter: Minter) -> list[Outcome]:
    """Send all, then look up what Envoy and the journal say about them."""
    port = stack.envoy.ports["inbound"]
    answers = [_send(ask, port, minter) for ask in asks]
    wanted = {answer.decision_id for answer in answers}
    logged = _await_log(stack.access_log, wanted)
    journal = {event.decision_id: event for event in _decisions(stack.server.journal)}
    return [_outcome(a, logged.get(a.decision_id, {}), journal.get(a.decision_id)) for a in answers]


def _send(ask: Ask, port: int, minter: Minter) -> _Answer:
    """One request, its target as it stands: http.client does not normalise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    token = [("authorization", f"Bearer {minter.mint(ask.token.claims, ask.token.forgery)}")] if ask.token else []
    try:
        connection.connect()
        began = time.perf_counter()
        connection.putrequest(ask.method, ask.target, skip_host=True, skip_accept_encoding=True)
        for name, value in [("host", ask.host), *token, *ask.headers]:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        took = (time.perf_counter() - began) * 1000
        return _Answer(ask, response.status, tuple(response.getheaders()), body, took)
    finally:
        connection.close()


def _await_log(file: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Lines of the access log by decision id, once all that are wanted are there or time is up."""
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        text = file.read_text() if file.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        found = {line["decision_id"]: line for line in lines if line["decision_id"]}
        if wanted <= found.keys() or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def _decisions(journal: Path) -> Iterator[DecisionEvent]:
    for segment in sorted(journal.glob("*.ndjson")):
        for raw in segment.read_bytes().splitlines():
            line = parse_line(raw)
            event = read_decision(line.event) if line else None
            if event:
                yield event


def _outcome(answer: _Answer, logged: dict[str, Any], recorded: DecisionEvent | None) -> Outcome:
    ask = answer.ask
    reason = str(logged.get("reason") or "")
    faults = list(_header_faults(answer))
    if answer.status != ask.status:
        faults.append(f"expected HTTP {ask.status}")
    if reason != ask.reason:
        faults.append(f"expected reason {ask.reason}")
    if recorded is None:
        faults.append("the journal has no record of it")
    elif recorded.reason != reason:
        faults.append(f"the journal says {recorded.reason}")
    explanation = _explain(ask, recorded) if recorded and recorded.outcome != "allow" else ""
    return Outcome(ask, answer.status, reason, answer.decision_id, answer.milliseconds, explanation, tuple(faults))


def _explain(ask: Ask, event: DecisionEvent) -> str:
    """One line: the check that failed, and why in words."""
    return f"{event.check}: {_why(ask, event)}" if event.check else _why(ask, event)


def _why(ask: Ask, event: DecisionEvent) -> str:
    """The journal's detail where it has one; it never has the path, which the demo knows."""
    if event.detail:
        return event.detail
    if event.reason == Reason.NO_POLICY_MATCHED.code:
        who = f"{', '.join(event.roles) or 'anyone'} of {event.tenant or 'no tenant'}"
        return f"no rule lets {who} {event.method} {ask.target}"
    if event.reason == Reason.POLICY_DENIED.code:
        return f"rule {event.policy}/{event.rule} denies it, whatever else allows it"
    if event.reason == Reason.NO_PROFILE.code:
        return f"no profile covers the host {event.host}"
    path = canonicalise(ask.target)
    if isinstance(path, Ambiguous) and path.check == event.check:
        return path.detail
    return _WORDS.get(event.reason, "")


def _header_faults(answer: _Answer) -> Iterator[str]:
    """What should be in the answer, or have reached the upstream, and is not so."""
    if len(answer.values(DECISION_HEADER)) != 1:
        yield "no decision id in the answer"
    if len(answer.values(INTERACTION_HEADER)) != 1:
        yield "no interaction id in the answer"
    for name, value in answer.ask.client_gets:
        if answer.values(name) != [value]:
            yield f"expected {name}: {value} in the answer"
    if answer.status != http.client.OK:
        return
    reached: list[list[str]] = json.loads(answer.body)["headers"]
    for name, value in answer.ask.upstream_gets:
        if [found for key, found in reached if key == name] != [value]:
            yield f"expected {name}: {value} at the upstream"
    for name in answer.ask.upstream_lacks:
        if any(key == name for key, _ in reached):
            yield f"{name} reached the upstream"
