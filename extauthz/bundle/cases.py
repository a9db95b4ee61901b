"""The cases of PolicyTests: checked with the bundle, and turned into what a decision is asked."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from extauthz.bundle.case_expect import obliged
from extauthz.bundle.case_requests import CaseHeaders, build_request, digest_of
from extauthz.bundle.case_signatures import with_signature, with_signed_body
from extauthz.bundle.documents import Document, Documents
from extauthz.bundle.finding import Finding
from extauthz.bundle.kinds import CaseSpec, PolicyTestSpec
from extauthz.bundle.minting import complete_claims, mint, mint_answer
from extauthz.bundle.proofs import bound_thumbprint, with_proof
from extauthz.identity import Issuer
from extauthz.identity.claim_paths import first_of
from extauthz.model.decision import IntrospectToken, Question
from extauthz.model.letting_go import let_go
from extauthz.model.problems import Location, Problem, suggestion
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Refused, Request
from extauthz.policy import AccessPolicySpec
from extauthz.policy.document import rule_name
from extauthz.snapshot import Snapshot

# 2026-01-01T00:00:00Z: tests must not change their mind with the day on which they run.
DEFAULT_NOW: Final = 1_767_225_600
OPAQUE: Final = "policy-test-opaque-token"
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

    def ask(self, world: Snapshot) -> Request | Connection | Refused:
        """What a decision is asked; `world` for what a proof must say."""
        headers = CaseHeaders(self.spec.request.headers)
        if self.spec.token is not None and self.issuer is not None:
            claims = dict(self.spec.token.claims)
            if self.spec.dpop is not None:
                claims.setdefault("cnf", {"jkt": bound_thumbprint()})
            token = mint(self.issuer, claims, self.now)
            headers = headers.with_line("authorization", f"{self._scheme} {token}")
        elif self.spec.introspection is not None and headers.get("authorization") is None:
            headers = headers.with_line("authorization", f"{self._scheme} {OPAQUE}")
        asked = build_request(self.spec.request, headers)
        return self._sign(asked, headers, world) if isinstance(asked, Request) else asked

    def _sign(self, request: Request, headers: CaseHeaders, world: Snapshot) -> Request:
        """With whatever the case has signed, the body first and the whole of it last."""
        if self.spec.signed_body is not None:
            case = (self._client, self.now)
            request, headers = with_signed_body(request, headers, self.spec.signed_body, world, case)
        if self.spec.dpop is not None:
            request, headers = with_proof(request, headers, self.spec.dpop, world, self.now)
        if self.spec.signature is not None:
            return with_signature(request, headers, self.spec.signature, world, self.now)
        return request

    @property
    def is_minted(self) -> bool:
        """Whether something in it is signed with keys that exist for tests alone."""
        return self.issuer is not None or self.spec.introspection is not None

    @property
    def is_signed(self) -> bool:
        """Whether the request or its body is signed with keys that exist for tests alone."""
        return self.spec.signature is not None or self.spec.signed_body is not None

    @property
    def uses(self) -> tuple[bool, ...]:
        """Of what may be used once, in the order in which it is asked about: whether it was used before."""
        return tuple(spec.used for spec in (self.spec.dpop, self.spec.signed_body) if spec is not None)

    @property
    def _client(self) -> str:
        """The client that the token names, as its issuer writes it."""
        if self.issuer is None or self.spec.token is None:
            return ""
        claims = complete_claims(self.issuer, {**self.spec.token.claims, **(self.spec.introspection or {})}, self.now)
        return str(first_of(claims, self.issuer.claims.client))

    @property
    def _scheme(self) -> str:
        return "DPoP" if self.spec.dpop else "Bearer"

    def answer(self, question: Question, issuers: Mapping[str, Issuer]) -> bytes | None:
        """What the outside says: the issuer what the case has it say, anybody else nothing."""
        members = self.spec.introspection
        if members is None or not isinstance(question, IntrospectToken):
            return None
        if self.spec.token is not None:
            members = {**self.spec.token.claims, **members}
        if self.spec.dpop is not None:
            members = {"cnf": {"jkt": bound_thumbprint()}, **members}
        return mint_answer(issuers[question.issuer], members, self.now)


def read_cases(document: Document, issuers: dict[str, Issuer], emergencies: Mapping[str, int]) -> list[Case]:
    """The cases of a PolicyTest that has no errors. `emergencies`: when each begins, seconds since the epoch."""
    spec: PolicyTestSpec = document.spec
    now = int(spec.now.timestamp()) if isinstance(spec.now, datetime) else spec.now
    return [
        Case(
            test=document.name,
            file=document.tree.file,
            line=document.tree.line(("spec", "cases", index)),
            now=emergencies.get(case.given.emergency, DEFAULT_NOW if now is None else now),
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
    introspected = documents.unread or any(found.spec.introspection for found in documents.by_kind["Issuer"])
    findings = []
    for document in documents.by_kind["PolicyTest"]:
        problems: list[Problem] = []
        names: set[str] = set()
        test: PolicyTestSpec = document.spec
        for index, case in enumerate(test.cases):
            at: Location = ("spec", "cases", index)
            if case.name in names:
                problems.append(Problem((*at, "name"), f"two cases are called `{case.name}`", code="duplicate-name"))
            names.add(case.name)
            _check_request(case, problems, at)
            _check_expect(case, rules, problems, (*at, "expect"))
            _check_emergencies(case, documents, problems, at)
            if case.introspection is not None and not introspected:
                problems.append(Problem((*at, "introspection"), "no Issuer has `introspection`: nobody would be asked"))
            known = documents.names["Issuer"]
            if case.token is not None and not documents.knows("Issuer", case.token.issuer):
                message = f"unknown issuer `{case.token.issuer}`{suggestion(case.token.issuer, list(known))}"
                problems.append(Problem((*at, "token", "issuer"), message, code="unknown-name"))
        findings += document.findings(problems)
    let_go(rules)
    return findings


def _check_request(case: CaseSpec, problems: list[Problem], at: Location) -> None:
    request = case.request
    if not request.host and not request.tcp:
        problems.append(Problem((*at, "request", "host"), "missing: name the host, or write `tcp: true`"))
    if request.tcp and (request.headers or case.token):
        problems.append(Problem((*at, "request", "tcp"), "a connection without HTTP has no headers and no token"))
    if request.tcp and case.introspection is not None:
        problems.append(Problem((*at, "introspection"), "a connection without HTTP has no token to ask about"))
    if case.dpop is not None and case.token is None and case.introspection is None:
        problems.append(Problem((*at, "dpop"), "a proof is made for a `token`: write one"))
    _check_signed(case, problems, at)
    _check_certificates(case, problems, (*at, "request"))
    for name in request.headers:
        if not _HEADER.fullmatch(name):
            problems.append(Problem((*at, "request", "headers", name), f"`{name}` is not the name of a header"))
        elif case.token is not None and name.lower() == "authorization":
            message = "`token` writes this header: leave one of the two out"
            problems.append(Problem((*at, "request", "headers", name), message))


def _check_signed(case: CaseSpec, problems: list[Problem], at: Location) -> None:
    """What `signature` and `signedBody` need, and what they write themselves."""
    for field, section in (("signature", case.signature), ("signedBody", case.signed_body)):
        if section is not None and case.token is None and case.introspection is None:
            problems.append(Problem((*at, field), "keys are registered by client: write a `token` that names one"))
    if case.request.body and case.signed_body is not None:
        message = "`signedBody` writes the body: leave one of the two out"
        problems.append(Problem((*at, "request", "body"), message))
    written = {"signature-input", "signature"} if case.signature is not None else set()
    for name in case.request.headers:
        if name.lower() in written:
            message = "`signature` writes this header: leave one of the two out"
            problems.append(Problem((*at, "request", "headers", name), message))


def _check_certificates(case: CaseSpec, problems: list[Problem], at: Location) -> None:
    request = case.request
    for field, thumbprint in (
        ("clientCertificate", request.client_certificate),
        ("forwardedCertificate", request.forwarded_certificate),
    ):
        if thumbprint and digest_of(thumbprint) is None:
            message = f"`{thumbprint}` is not a SHA-256 thumbprint: 43 characters of base64url"
            problems.append(Problem((*at, field), message))
    if request.client_certificate and request.forwarded_certificate:
        message = "Envoy tells of one certificate: the peer's, or the one that a gateway saw"
        problems.append(Problem((*at, "forwardedCertificate"), message))


def _check_emergencies(case: CaseSpec, documents: Documents, problems: list[Problem], at: Location) -> None:
    for field, name in (("given", case.given.emergency), ("expect", case.expect.emergency or "")):
        if name and not documents.knows("Emergency", name):
            known = list(documents.names["Emergency"])
            message = f"unknown emergency `{name}`{suggestion(name, known)}"
            problems.append(Problem((*at, field, "emergency"), message, code="unknown-name"))


def _check_expect(case: CaseSpec, rules: dict[str, set[str]], problems: list[Problem], at: Location) -> None:
    expect = case.expect
    if expect.reason is not None:
        reason = _REASONS.get(expect.reason)
        if reason is None:
            message = f"unknown reason `{expect.reason}`{suggestion(expect.reason, list(_REASONS))}"
            problems.append(Problem((*at, "reason"), message, code="unknown-name"))
        elif reason.outcome != expect.outcome:
            message = f"reason `{expect.reason}` has outcome `{reason.outcome}`, not `{expect.outcome}`"
            problems.append(Problem((*at, "reason"), message))
    if expect.policy and expect.policy not in rules:
        message = f"unknown policy `{expect.policy}`{suggestion(expect.policy, list(rules))}"
        problems.append(Problem((*at, "policy"), message, code="unknown-name"))
    elif expect.policy and expect.rule and rules[expect.policy] and expect.rule not in rules[expect.policy]:
        message = f"policy `{expect.policy}` has no rule `{expect.rule}`"
        message += suggestion(expect.rule, list(rules[expect.policy]))
        problems.append(Problem((*at, "rule"), message, code="unknown-name"))
    if expect.outcome != "allow" and obliged(expect):
        problems.append(Problem((*at, "outcome"), "only an allowed request has headers to expect"))
    known = {f"{policy}/{rule}" for policy, names in rules.items() for rule in names}
    for field, listed in (("shadow", expect.shadow), ("conditionErrors", expect.condition_errors)):
        for index, name in enumerate(listed or ()):
            if name not in known and rules.get(name.partition("/")[0]) != set():
                message = f"unknown rule `{name}`{suggestion(name, sorted(known))}"
                problems.append(Problem((*at, field, index), message, code="unknown-name"))
