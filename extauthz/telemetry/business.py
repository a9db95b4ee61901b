"""Counters by configuration: each label takes one of the values listed for it, or its `other`."""

from collections.abc import Iterator, Mapping

from extauthz.model.record import DecisionRecord
from extauthz.telemetry.counters import Key
from extauthz.telemetry.options import BusinessCounter


class Business:
    """The counters of one configuration."""

    def __init__(self, counters: tuple[BusinessCounter, ...]) -> None:
        self.counters = counters
        self._labels = [
            (
                f"business:{counter.name}",
                [(label.source, frozenset(label.values), label.other) for label in counter.labels],
            )
            for counter in counters
        ]

    def keys(self, record: DecisionRecord, metadata: Mapping[str, str]) -> Iterator[Key]:
        """The series that one Check adds to. `metadata` is what the rule's obligations set."""
        evidence, reason = record.decision.evidence, record.decision.reason
        found = {
            "tenant": evidence.tenant,
            "policy": evidence.policy,
            "rule": evidence.rule,
            "method": record.facts.method,
            "profile": evidence.profile,
            "reason": reason.code,
            "outcome": reason.outcome,
        }
        for name, labels in self._labels:
            key = [name]
            for source, values, other in labels:
                value = found[source] if source in found else metadata.get(source.removeprefix("metadata:"), "")
                key.append(value if value in values else other)
            yield tuple(key)
