"""A Check that was answered and waits to be compared."""

from collections.abc import Mapping

from msgspec import Struct

from extauthz.guards import Listed
from extauthz.model.decision import Question
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Connection, Refused, Request
from extauthz.snapshot import Snapshot


class Waiting(Struct, frozen=True, gc=False):
    """What the live bundle was asked, and all that it knew."""

    asked: Request | Connection | Refused
    world: Snapshot  # that decided
    orders: Listed  # in force at run time when it decided
    known: Mapping[Question, bytes | bool]  # what it was told from outside
    record: DecisionRecord
    size: int  # of its message in bytes
