"""Mutants put to the test: compiled as the bundle is, and decided case by case until one case notices.

Rule 1: a case notices if it passes with the bundle and fails with the mutant. Its request stays what it was.
Rule 2: a mutant that does not compile needs no case: the bundle would not be activated.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle.case_expect import differences
from extauthz.bundle.compile import compile_documents
from extauthz.bundle.documents import Document, Documents
from extauthz.bundle.mutants import Mutant, mutants
from extauthz.bundle.policies import known_names, read_headers
from extauthz.bundle.trial import Trial
from extauthz.model.problems import Problem
from extauthz.model.subject import Subject
from extauthz.policy import NamedPolicy, PolicyMemory, compile_policies
from extauthz.snapshot import ProfileIndex, Snapshot

Outcome = Literal["killed", "survived", "refused"]
_MAX_TOKENS: Final = 10_000


class Fate(Struct, frozen=True):
    """What became of a mutant."""

    outcome: Outcome  # refused: it does not compile
    by: str = ""  # the case that noticed, as `file:line: name`


class _Kept:
    """Tokens verified once; the keys of entries tell issuers and their documents apart."""

    def __init__(self) -> None:
        self._subjects: dict[bytes, Subject] = {}

    def get(self, key: bytes) -> Subject | None:
        return self._subjects.get(key)

    def put(self, key: bytes, subject: Subject) -> None:
        if len(self._subjects) < _MAX_TOKENS:
            self._subjects[key] = subject


class Mutation:
    """The mutants of one bundle, and the cases that should notice them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Read the bundle. Raises BundleError."""
        self._files = files
        trial = Trial(files)
        self._bench = trial.bench
        self._documents = trial.opened.documents
        self._compiled = trial.opened.compiled
        self._snapshot = trial.opened.built.snapshot
        self._memory = PolicyMemory()
        self._tokens = _Kept()
        self.mutants: list[Mutant] = mutants(self._documents, self._compiled)
        runs = [trial.run(number) for number in range(len(self._bench.cases))]
        self.failing = [run.result for run in runs if not run.result.passed]
        worlds = self._bench.worlds(self._snapshot)
        self._asked = [self._bench.ask(case, worlds) for case in self._bench.cases]
        self._rules = [run.result.rules for run in runs]

    def run(self, number: int) -> Fate:
        """Try one mutant, by its place among all."""
        mutant = self.mutants[number]
        world = self._world(mutant)
        if world is None:
            return Fate("refused")
        worlds = self._bench.worlds(world, self._tokens)
        for at in self._order(mutant):
            case = self._bench.cases[at]
            decision = self._bench.decide(case, self._asked[at], worlds)
            if next(iter(differences(case.spec.expect, decision)), None) is not None:
                return Fate("killed", f"{case.file}:{case.line}: {case.spec.name}")
        return Fate("survived")

    def _order(self, mutant: Mutant) -> list[int]:
        """The cases, those that the changed rule decided first: they are the likeliest to notice."""
        rule = (mutant.name, mutant.change.rule)
        return sorted(range(len(self._asked)), key=lambda at: rule not in self._rules[at])

    def _world(self, mutant: Mutant) -> Snapshot | None:
        if mutant.kind == "AccessPolicy":
            return self._with_policies(mutant)
        compiled = compile_documents(_changed(self._documents, mutant), self._files)
        if any(finding.severity == "error" for finding in compiled.findings):
            return None
        return replace(
            self._snapshot,
            profiles=ProfileIndex(compiled.profiles),
            tenants=compiled.tenants,
            policies=compiled.policies,
            emergencies=compiled.emergencies,
        )

    def _with_policies(self, mutant: Mutant) -> Snapshot | None:
        """Only what was changed is compiled anew."""
        policies = [
            NamedPolicy(name, spec)
            for at, document in enumerate(self._documents.by_kind["AccessPolicy"])
            for name, spec in (mutant.change.documents if at == mutant.document else [(document.name, document.spec)])
        ]
        problems: list[list[Problem]] = [[] for _ in policies]
        names = known_names(self._documents, self._compiled.tenants)
        headers = read_headers(self._compiled.profiles)
        made = compile_policies(policies, names, self._documents.data, problems, headers, self._memory)
        if any(problem.severity == "error" for found in problems for problem in found):
            return None
        return replace(self._snapshot, policies=made)


def _changed(documents: Documents, mutant: Mutant) -> Documents:
    of_kind = list(documents.by_kind[mutant.kind])
    old: Document = of_kind[mutant.document]
    of_kind[mutant.document : mutant.document + 1] = [
        Document(mutant.kind, name, spec, old.tree) for name, spec in mutant.change.documents
    ]
    return replace(documents, by_kind={**documents.by_kind, mutant.kind: of_kind})
