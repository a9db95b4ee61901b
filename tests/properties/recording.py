"""A request decided by one bundle and put on record, as replay finds it."""

import time
from typing import Any

from extauthz.bundle.read import open_bundle
from extauthz.bundle.replay import Decided, World
from extauthz.check import decide
from extauthz.cli.replay_work import decided_of
from extauthz.journal.kept import Keeper
from extauthz.journal.pseudonym import PeriodKey, Pseudonyms
from extauthz.journal.record import TimeText, decision_event, read_decision, with_read
from extauthz.model.decision import Decision
from extauthz.model.record import DecisionRecord
from extauthz.snapshot import Snapshot

NAMES = Pseudonyms(PeriodKey("2024-01", b"k" * 32), b"u" * 32)
NOW = int(time.time())


def record(asked: Any, decision: Decision, world: Snapshot, clear: tuple[str, ...] = ()) -> tuple[Decided, bytes]:
    """What the journal tells of a decision, and the event as it lies there."""
    text = TimeText()(float(NOW))
    made = DecisionRecord(
        decision_id="d-1",
        interaction_id="",
        interaction_id_source="generated",
        time=float(NOW),
        duration=0.0,
        revision=world.revision,
        digest=world.digest,
        facts=asked.facts,
        decision=decision,
        status=decision.reason.status,
        asked=asked,
        keeping=world.keeping,
    )
    event = with_read(decision_event(made, NAMES, text), Keeper(NAMES, clear).read(made, text[:7]))
    found = read_decision(event)
    assert found is not None
    return decided_of(text, found), event


def world_of(files: dict[str, bytes]) -> World:
    """A bundle that is asked about the past, by who has the key."""
    return World(open_bundle(files), NAMES.attributes)


def verdict(decision: Decision) -> tuple[str, str, str]:
    """What has to agree."""
    return decision.reason.code, decision.evidence.policy, decision.evidence.rule


__all__ = ["NOW", "decide", "record", "verdict", "world_of"]
