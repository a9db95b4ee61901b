"""The example bank with candidates beside it, in one process: which of them is asked can be chosen at any time."""

from collections.abc import Mapping, Sequence
from functools import partial

from extauthz.beside import Beside, BesideOptions
from extauthz.bundle import read_bundle
from extauthz.model.ports import NoTokenCache
from extauthz.sources import Live
from extauthz.wire import settle
from loadtest.points import BANK, BANK_CASES, OUTBOUND, Case, bank, questions, token

REFUSE = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: refuse-everything}
spec:
  effect: deny
  rules:
  - name: all
    from: [{principals: ['*']}, {roles: ['*']}]
"""
# Another bundle that decides alike.
ALIKE = REFUSE.replace("effect: deny", "effect: deny\n  match: {hosts: [nowhere.test]}")
_NO_LIMIT = 1e6  # of its share of the processor
_SLOWNESS = 50  # of time below valgrind


class Modes:
    """Implements `transport.Spare` for the candidate that was chosen."""

    def __init__(self, samples: Mapping[str, float | None]) -> None:
        """By name, the sample; None without a candidate. Those called `refusing` refuse everything."""
        self.point = bank()
        self.case = BANK_CASES[0]  # a rule by role: the cheapest, so that what is fixed shows most
        self._modes = {name: self._beside(name, sample) for name, sample in samples.items()}
        self._chosen: Beside | None = None

    def _beside(self, name: str, sample: float | None) -> Beside | None:
        if sample is None:
            return None
        policy = REFUSE if name == "refusing" else ALIKE
        files = {str(path.relative_to(BANK)): path.read_bytes() for path in sorted(BANK.rglob("*.*")) if path.is_file()}
        built = read_bundle({**files, "policies/of-the-candidate.yaml": policy.encode()}, NoTokenCache())
        held = Live()
        held.activate(built.snapshot, built.issuers)
        settled, point = partial(settle, options=OUTBOUND), self.point
        made = Beside(point.live, held, BesideOptions(sample, _NO_LIMIT), settled, point.journal, point.metrics)
        made.slice_seconds *= _SLOWNESS
        return made

    def choose(self, name: str) -> None:
        """From the next Check on."""
        self._chosen = self.point.handler.beside = self._modes[name]

    @property
    def is_there(self) -> bool:
        """Whether there is enough to begin."""
        return self._chosen is not None and self._chosen.is_there

    def do(self) -> None:
        """Compare for a moment."""
        if self._chosen is not None:
            self._chosen.do()

    def sweep(self) -> None:
        """Compare all that is left."""
        while self._chosen is not None and self._chosen.sweep():
            pass

    def questions(self, case: Case, count: int, first: int = 0) -> list[bytes]:
        """Different ones, of four callers."""
        return questions(case, self.credentials(case), first, count)

    def credentials(self, case: Case) -> Sequence[str]:
        """Of four callers alike."""
        return [token(case, number) for number in range(4)]
