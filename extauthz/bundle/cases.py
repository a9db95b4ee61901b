"""The cases of PolicyTests: checked with the bundle, and turned into what a decision is asked.

A request is built as `wire` builds one from Envoy's message: the same canonical path and host, or the same refusal.
"""

import re
from datetime import datetime
from typing import Final

from msgspec import Struct

from extauthz.bundle.documents import Document, Documents
from extauthz.bundle.finding import Finding
from extauthz.bundle.kinds import CaseRequestSpec, CaseSpec, PolicyTestSpec
from extauthz.bundle.minting import mint
from extauthz.identity import Issuer
from extauthz.model.hosts import canonicalise_host
from extauthz.model.paths import Ambiguous, canonicalise
from extauthz.model.problems import Location, Problem, suggestion
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer, Refused, Request
from extauthz.policy import AccessPolicySpec
from extauthz.policy.document import rule_name

# 2026-01-01T00:00:00Z: tests must not change their mind with the day on which they run.
DEFAULT_NOW: Final = 1_767_225_600
_METHOD = re.compile(r"[A-Z][A-Z0-9_\-]{0,19}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_REASONS: Final = {reason.code: reason for reason in Reason}


class Case(Struct, frozen=True):
    """One case, ready to be asked."""

    test: str  # name of the PolicyTest document
    file: str
    line: int
    now: int  # seconds since the epoch
    spec: CaseSpec
    issuer: Issuer | None  # who signs the token

    def ask(self) -> Request | Connection | Refused:
        """What a decision is asked."""
        headers = CaseHeaders(self.spec.request.headers)
        if self.spec.token is not None and self.issuer is not None:
            token = mint(self.issuer, self.spec.token.claims, self.now)
            headers = headers.with_token(token)
        return _build(self.spec.request, headers)


class CaseHeaders:
    """Request headers as a case writes them: a text or a list of lines for each name, in any case."""

    def __init__(self, lines: dict[str, str | tuple[str, ...]]) -> None:
        self._lines: dict[str, tuple[str, ...]] = {}
        for name, value in lines.items():
            more = (value,) if isinstance(value, str) else value
            self._lines[name.lower()] = self._lines.get(name.lower(), ()) + more

    def with_token(self, token: str) -> "CaseHeaders":
        """The same headers with a bearer token."""
        return CaseHeaders({**self._lines, "authorization": f"Bearer {token}"})

    def get(self, name: str) -> str | None:
        """The value, several lines joined with `,` as Envoy does; None when absent."""
        lines = self._lines.get(name)
        return ",".join(lines) if lines else None

    def is_repeated(self, name: str) -> bool:
        """Whether more than one line of that name was sent."""
        return len(self._lines.get(name, ())) > 1

    def items(self) -> list[tuple[str, str]]:
        """All headers in order of their names."""
        return sorted((name, ",".join(lines)) for name, lines in self._lines.items() if lines)


def read_cases(document: Document, issuers: dict[str, Issuer]) -> list[Case]:
    """The cases of a PolicyTest that has no errors."""
    spec: PolicyTestSpec = document.spec
    now = int(spec.now.timestamp()) if isinstance(spec.now, datetime) else spec.now
    return [
        Case(
            test=document.name,
            file=document.tree.file,
            line=document.tree.line(("spec", "cases", index)),
            now=DEFAULT_NOW if now is None else now,
            spec=case,
            issuer=issuers.get(case.token.issuer) if case.token else None,
        )
        for index, case in enumerate(spec.cases)
    ]


def check_cases(documents: Documents) -> list[Finding]:
    """Everything in PolicyTests that names what does not exist, or could never come out."""
    rules: dict[str, set[str]] = {name: set() for name in documents.names["AccessPolicy"]}
    if documents.unread:  # a policy may be in a file that could not be parsed
        rules |= {
            case.expect.policy or "": set() for test in documents.by_kind["PolicyTest"] for case in test.spec.cases
        }
    for document in documents.by_kind["AccessPolicy"]:
        policy: AccessPolicySpec = document.spec
        rules[document.name] = {rule_name(rule, position) for position, rule in enumerate(policy.rules)}
    findings = []
    for document in documents.by_kind["PolicyTest"]:
        problems: list[Problem] = []
        names: set[str] = set()
        test: PolicyTestSpec = document.spec
        for index, case in enumerate(test.cases):
            at: Location = ("spec", "cases", index)
            if case.name in names:
                problems.append(Problem((*at, "name"), f"two cases are called `{case.name}`"))
            names.add(case.name)
            _check_request(case, problems, at)
            _check_expect(case, rules, problems, (*at, "expect"))
            known = documents.names["Issuer"]
            if case.token is not None and not documents.knows("Issuer", case.token.issuer):
                message = f"unknown issuer `{case.token.issuer}`{suggestion(case.token.issuer, list(known))}"
                problems.append(Problem((*at, "token", "issuer"), message))
        findings += document.findings(problems)
    return findings


def _check_request(case: CaseSpec, problems: list[Problem], at: Location) -> None:
    request = case.request
    if not request.host and not request.tcp:
        problems.append(Problem((*at, "request", "host"), "missing: name the host, or write `tcp: true`"))
    if request.tcp and (request.headers or case.token):
        problems.append(Problem((*at, "request", "tcp"), "a connection without HTTP has no headers and no token"))
    for name in request.headers:
        if not _HEADER.fullmatch(name):
            problems.append(Problem((*at, "request", "headers", name), f"`{name}` is not the name of a header"))
        elif case.token is not None and name.lower() == "authorization":
            message = "`token` writes this header: leave one of the two out"
            problems.append(Problem((*at, "request", "headers", name), message))


def _check_expect(case: CaseSpec, rules: dict[str, set[str]], problems: list[Problem], at: Location) -> None:
    expect = case.expect
    if expect.reason is not None:
        reason = _REASONS.get(expect.reason)
        if reason is None:
            message = f"unknown reason `{expect.reason}`{suggestion(expect.reason, list(_REASONS))}"
            problems.append(Problem((*at, "reason"), message))
        elif reason.outcome != expect.outcome:
            message = f"reason `{expect.reason}` has outcome `{reason.outcome}`, not `{expect.outcome}`"
            problems.append(Problem((*at, "reason"), message))
    if expect.policy and expect.policy not in rules:
        message = f"unknown policy `{expect.policy}`{suggestion(expect.policy, list(rules))}"
        problems.append(Problem((*at, "policy"), message))
    elif expect.policy and expect.rule and rules[expect.policy] and expect.rule not in rules[expect.policy]:
        message = f"policy `{expect.policy}` has no rule `{expect.rule}`"
        problems.append(Problem((*at, "rule"), message + suggestion(expect.rule, list(rules[expect.policy]))))
    if expect.outcome != "allow" and (expect.upstream_headers or expect.removed_headers):
        problems.append(Problem((*at, "outcome"), "only an allowed request has headers to expect"))


def _build(spec: CaseRequestSpec, headers: CaseHeaders) -> Request | Connection | Refused:
    source = Peer(address=spec.source_address, principal=spec.principal)
    destination = Peer(port=spec.destination_port, principal=spec.destination_principal)
    client = spec.client_address or spec.source_address
    if spec.tcp:
        return Connection(
            Facts(source=source, destination=destination, client_address=client), source, destination, spec.sni
        )
    host = canonicalise_host(spec.host)
    facts = Facts(
        method=spec.method,
        host=host.name if host else "",
        source=source,
        destination=destination,
        client_address=client,
    )
    if not _METHOD.fullmatch(spec.method):
        return Refused(facts, Reason.METHOD_INVALID, "T-22")
    if host is None:
        return Refused(facts, Reason.HOST_INVALID, "T-18")
    path = canonicalise(spec.path)
    if isinstance(path, Ambiguous):
        return Refused(facts, Reason.PATH_AMBIGUOUS, path.check)
    return Request(
        facts=facts,
        method=spec.method,
        host=host.name,
        port=host.port,
        scheme="https",
        path=path.text,
        segments=path.segments,
        query=path.query,
        headers=headers,
        source=source,
        destination=destination,
        sni=spec.sni,
        raw_path=spec.path.partition("?")[0],
    )
