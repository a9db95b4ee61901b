"""Runs a bundle's own tests through the function that serves: `check.decide`."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle.case_signatures import with_case_keys
from extauthz.bundle.cases import Case
from extauthz.bundle.minting import minting_keys
from extauthz.bundle.proofs import NONCES, UsesSeen
from extauthz.bundle.read import Built
from extauthz.check import decide
from extauthz.identity import Issuer
from extauthz.model.decision import Allow, Decision, Obligations
from extauthz.model.ports import NoTokenCache
from extauthz.snapshot import Snapshot


class TestResult(Struct, frozen=True, kw_only=True):
    """How one case went."""

    __test__ = False  # not a test class, whatever its name says

    file: str
    line: int
    test: str  # name of the PolicyTest document
    case: str  # name of the case
    differences: tuple[str, ...]  # what came out otherwise, e.g. "reason: expected `a`, got `b`"; empty: passed
    outcome: str
    reason: str
    check: str  # id of the failed check, "" when there is none
    detail: str  # for people who write policies; "" when there is nothing more to say
    rules: tuple[tuple[str, str], ...]  # (policy, rule) of every rule that matched, those in shadow mode too

    @property
    def passed(self) -> bool:
        """Whether everything came out as expected."""
        return not self.differences


class Coverage(Struct, frozen=True):
    """Which rules matched in some case."""

    total: int
    missing: tuple[tuple[str, str], ...]  # (policy, rule)

    @property
    def covered(self) -> int:
        """How many rules matched."""
        return self.total - len(self.missing)


def run_tests(built: Built) -> list[TestResult]:
    """Decide every case of the bundle; nobody outside is asked, and the live keys are not needed."""
    with_file_keys = built.snapshot.keys
    minted = {issuer.name: minting_keys(issuer) for issuer in built.issuers} if built.tests else {}
    plain = replace(built.snapshot, keys={**minted, **with_file_keys}, tokens=NoTokenCache(), nonces=NONCES)
    issuers = {issuer.name: issuer for issuer in built.issuers}
    worlds = {(False, False): plain, (True, False): replace(plain, keys=minted)}
    worlds |= {(minted, True): with_case_keys(world) for (minted, _), world in worlds.items()}
    return [_run(case, worlds[case.is_minted, case.is_signed], issuers) for case in built.tests]


def coverage(built: Built, results: Iterable[TestResult]) -> Coverage:
    """Which rules of the bundle no case has matched, in order of the documents."""
    matched = {rule for result in results for rule in result.rules}
    rules = [(policy.name, rule) for policy in built.snapshot.policies.policies for rule in policy.rules]
    return Coverage(len(rules), tuple(rule for rule in rules if rule not in matched))


def _run(case: Case, world: Snapshot, issuers: Mapping[str, Issuer]) -> TestResult:
    world = replace(world, replay=UsesSeen(*case.uses))
    decision = decide(case.ask(world), world, case.now, lambda question: case.answer(question, issuers))
    evidence = decision.evidence
    own = ((evidence.policy, evidence.rule),) if evidence.policy else ()
    return TestResult(
        file=case.file,
        line=case.line,
        test=case.test,
        case=case.spec.name,
        differences=tuple(_compare(case, decision)),
        outcome=decision.reason.outcome,
        reason=decision.reason.code,
        check="" if isinstance(decision, Allow) else decision.check,
        detail="" if isinstance(decision, Allow) else decision.detail,
        rules=own + tuple((match.policy, match.rule) for match in evidence.shadow),
    )


def _compare(case: Case, decision: Decision) -> Iterable[str]:
    expect, evidence = case.spec.expect, decision.evidence
    pairs = (
        ("outcome", expect.outcome, decision.reason.outcome),
        ("reason", expect.reason, decision.reason.code),
        ("policy", expect.policy, evidence.policy),
        ("rule", expect.rule, evidence.rule),
        ("tenant", expect.tenant, evidence.tenant),
    )
    for name, expected, actual in pairs:
        if expected is not None and expected != actual:
            yield f"{name}: expected {_show(expected)}, got {_show(actual)}"
    obligations = decision.obligations if isinstance(decision, Allow) else Obligations()
    headers = dict(obligations.upstream_headers)
    for name, value in expect.upstream_headers.items():
        if headers.get(name.lower()) != value:
            yield f"upstreamHeaders.{name}: expected {_show(value)}, got {_show(headers.get(name.lower(), ''))}"
    for name in expect.removed_headers:
        if name.lower() not in obligations.removed_headers:
            yield f"removedHeaders: expected `{name}` to be removed"


def _show(value: str) -> str:
    return f"`{value}`" if value else "none"
