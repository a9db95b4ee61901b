"""Runs a bundle's own tests through the function that serves: `check.decide`."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle.case_expect import differences
from extauthz.bundle.case_signatures import with_case_keys
from extauthz.bundle.cases import Case
from extauthz.bundle.minting import minting_keys
from extauthz.bundle.proofs import NONCES, UsesSeen
from extauthz.bundle.read import Built
from extauthz.check import decide
from extauthz.model.decision import Allow, Decision
from extauthz.model.ports import NoTokenCache, TokenCache
from extauthz.model.request import Connection, Refused, Request
from extauthz.snapshot import Snapshot

_NO_TOKENS: Final = NoTokenCache()


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


Asked = Request | Connection | Refused
Worlds = Mapping[tuple[bool, bool], Snapshot]  # by whether a case is minted and signed


class Bench:
    """A bundle's cases ready to be decided, by its own snapshot or by one that was changed."""

    def __init__(self, built: Built) -> None:
        """Make the keys that sign tokens; the live ones are not needed."""
        self.cases = built.tests
        self._issuers = {issuer.name: issuer for issuer in built.issuers}
        self._minted = {issuer.name: minting_keys(issuer) for issuer in built.issuers} if built.tests else {}

    def worlds(self, snapshot: Snapshot, tokens: TokenCache = _NO_TOKENS) -> Worlds:
        """The snapshot as cases see it, who bring their own keys."""
        plain = replace(snapshot, keys={**self._minted, **snapshot.keys}, tokens=tokens, nonces=NONCES)
        worlds = {(False, False): plain, (True, False): replace(plain, keys=self._minted)}
        if any(case.is_signed for case in self.cases):
            worlds |= {(minted, True): with_case_keys(world) for (minted, _), world in worlds.items()}
        return worlds

    def ask(self, case: Case, worlds: Worlds) -> Asked:
        """The case's request, for the profile that these worlds have above it."""
        return case.ask(worlds[case.is_minted, case.is_signed])

    def decide(self, case: Case, asked: Asked, worlds: Worlds) -> Decision:
        """Decide the case's request by the function that serves; nobody outside is asked."""
        world = replace(worlds[case.is_minted, case.is_signed], replay=UsesSeen(*case.uses))
        return decide(asked, world, case.now, lambda question: case.answer(question, self._issuers))


def run_tests(built: Built) -> list[TestResult]:
    """Decide every case of the bundle."""
    bench = Bench(built)
    worlds = bench.worlds(built.snapshot)
    return [result_of(case, bench.decide(case, bench.ask(case, worlds), worlds)) for case in bench.cases]


def result_of(case: Case, decision: Decision) -> TestResult:
    """How the case went."""
    evidence = decision.evidence
    own = ((evidence.policy, evidence.rule),) if evidence.policy else ()
    return TestResult(
        file=case.file,
        line=case.line,
        test=case.test,
        case=case.spec.name,
        differences=tuple(differences(case.spec.expect, decision)),
        outcome=decision.reason.outcome,
        reason=decision.reason.code,
        check="" if isinstance(decision, Allow) else decision.check,
        detail="" if isinstance(decision, Allow) else decision.detail,
        rules=own + tuple((match.policy, match.rule) for match in evidence.shadow),
    )
