"""The candidate that the settings name: where it comes from, who compares it, and what is said about it.

Rule: without one there is nothing: no thread, no file, nothing on the path.
"""

import logging
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from extauthz.admin import CandidateStatus
from extauthz.beside import Beside, BesideOptions, Sweeper
from extauthz.bundle.compare import Comparison, judge
from extauthz.journal import Journal, LifecycleKind
from extauthz.settings import Settings
from extauthz.sources import Live
from extauthz.sources.bundles import Activation, BundleSource, Judged, Offered
from extauthz.telemetry import Metrics
from extauthz.wire import settle

log = logging.getLogger("extauthz.app")

Note = Callable[[LifecycleKind, dict[str, str]], None]

_FINDINGS_SHOWN, _FINDINGS_LOGGED = 50, 3
_KINDS: dict[str, LifecycleKind] = {
    "activated": "candidate_compared",
    "rejected": "candidate_rejected",
    "unreachable": "candidate_unreachable",
    "unchanged": "candidate_reachable",
}


class CandidateReadings(Struct, frozen=True):
    """What a scrape reads."""

    revision: str
    digest: str
    promotable: bool
    seconds: float


class Candidate:
    """Loads what is compared, by the same steps as the live bundle."""

    def __init__(
        self, settings: Settings, live: Live, metrics: Metrics, note: Note, clock: Callable[[], float]
    ) -> None:
        """Nothing is opened yet."""
        self._options, self._answers = settings.bundle.compared, settings.answers
        self._live, self._metrics, self._note, self._clock = live, metrics, note, clock
        self.held = Live(approver_keys=settings.emergencies.key_ids)  # decides nothing
        self.source = (
            BundleSource(self._options, self.held, self._on_load, clock=clock) if self._options is not None else None
        )
        self._beside: Beside | None = None
        self._sweeper: Sweeper | None = None

    def begin(self) -> None:
        """Raises OSError for settings that cannot be used. Nobody waits for a candidate: it is loaded later."""
        if self.source is not None:
            self.source.begin(load=False)

    def start(self) -> None:
        """Follow the source."""
        if self.source is not None:
            self.source.start()

    def stop(self) -> None:
        """End, when what waits is compared."""
        if self.source is not None:
            self.source.stop()
        if self._sweeper is not None:
            self._sweeper.stop()

    def beside(self, journal: Journal) -> Beside | None:
        """Who compares, from now on until `stop`; None when nothing is to be compared."""
        options = self._options
        if options is None:
            return None
        self._metrics.set_candidate(self._readings, self._policies())
        if options.sample:
            how = BesideOptions(options.sample, options.max_share)
            settled = partial(settle, options=self._answers)
            self._beside = Beside(self._live, self.held, how, settled, journal, self._metrics, self._clock)
            self._sweeper = Sweeper(self._beside.sweep)
            self._sweeper.start()
        return self._beside

    def offered(self) -> Offered | None:
        """What is compared now, as it would come into force."""
        return self.source.offered if self.source is not None else None

    def judged(self, status: CandidateStatus | None) -> Judged | None:
        """The gate's word on what has been compared, here or by all workers together."""
        if status is None:
            return None
        found = status.comparison
        return Judged(
            digest=status.digest,
            live_digest=found.live_digest if found else "",
            passed=status.promotable,
            reasons=status.not_promotable_because,
            basis=_basis(found) if found else "",
        )

    def status(self) -> CandidateStatus | None:
        """For `/status` and the console; None without a candidate."""
        options, source = self._options, self.source
        if options is None or source is None:
            return None
        held, last = self.held.status(), source.last
        comparison = self._beside.comparison() if self._beside is not None else None
        verdict = judge(comparison, options.gate)
        return CandidateStatus(
            source=source.status().where,
            sample=options.sample,
            revision=held.revision,
            digest=held.digest,
            last_result=last.result if last else "",
            last_step=(last.step or "") if last else "",
            last_findings=tuple(str(finding) for finding in last.findings[:_FINDINGS_SHOWN]) if last else (),
            seconds_spent=self._spent,
            comparison=comparison,
            gate=options.gate,
            promotable=verdict.passed,
            not_promotable_because=verdict.reasons,
        )

    def _readings(self) -> CandidateReadings | None:
        status = self.status()
        if status is None:
            return None
        return CandidateReadings(status.revision, status.digest, status.promotable, status.seconds_spent)

    @property
    def _spent(self) -> float:
        return self._beside.budget.spent if self._beside is not None else 0.0

    def _policies(self) -> frozenset[str]:
        world = self.held.latest
        return frozenset(policy.name for policy in world.policies.policies) if world is not None else frozenset()

    def _on_load(self, activation: Activation) -> None:
        self._metrics.load(activation.result)
        if activation.result == "activated":
            self._metrics.set_candidate(self._readings, self._policies())
        first = "; ".join(str(finding) for finding in activation.findings[:_FINDINGS_LOGGED])
        detail = {
            "source": activation.where,
            "revision": activation.revision,
            "digest": activation.digest,
            "name": activation.name,
            "key": activation.key,
            "step": activation.step or "",
            "first": first if activation.result in {"rejected", "unreachable"} else "",
        }
        said = {name: text for name, text in detail.items() if text}
        self._note(_KINDS[activation.result], said)
        shown = ("revision", "digest", "step", "first")
        extra: dict[str, object] = {name: said[name] for name in shown if name in said}
        if activation.result in {"rejected", "unreachable"}:
            log.warning("candidate %s", activation.result, extra=extra)
        else:
            log.info("candidate %s", _KINDS[activation.result].removeprefix("candidate_"), extra=extra)


def _basis(found: Comparison) -> str:
    """In words, for the journal."""
    changes = ", ".join(f"{count} {change}" for change, count in found.changes.items() if count) or "no disagreement"
    errors = f", {found.errors} failed" if found.errors else ""
    return f"{found.compared} Checks compared in {found.seconds:.0f} s with `{found.live_revision}`: {changes}{errors}"
