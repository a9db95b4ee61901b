"""A bundle on trial: its cases decided one by one, and what each shows of the rules. One in each process that helps."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from extauthz.bundle.coverage import Coverage, Seen, coverage, see
from extauthz.bundle.policy_test import Bench, TestResult, result_of
from extauthz.bundle.read import Opened, open_bundle
from extauthz.policy import Closer


class CaseRun(Struct, frozen=True):
    """How a case went, and what it has shown."""

    result: TestResult
    seen: list[Seen]


class Trial:
    """The cases of one bundle."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Read the bundle. Raises BundleError."""
        self.opened: Opened = open_bundle(files)
        self.bench = Bench(self.opened.built)
        self.closer = Closer(self.opened.built.data)
        self._snapshot = self.opened.built.snapshot
        self._worlds = self.bench.worlds(self._snapshot)

    def run(self, number: int) -> CaseRun:
        """Decide one case, by its place among all."""
        case = self.bench.cases[number]
        asked = self.bench.ask(case, self._worlds)
        decision = self.bench.decide(case, asked, self._worlds)
        seen = see(case, asked, decision, self._snapshot.policies, self.closer)
        return CaseRun(result_of(case, decision), seen)

    def coverage(self, runs: Iterable[CaseRun]) -> Coverage:
        """What the cases have shown together."""
        kept = list(runs)
        decided = [rule for run in kept for rule in run.result.rules]
        return coverage(self.opened.documents, decided, (seen for run in kept for seen in run.seen), self.closer)
