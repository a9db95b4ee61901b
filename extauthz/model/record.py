"""The one record of a Check that journal, metrics, traces and logs read."""

from msgspec import Struct

from extauthz.model.decision import Decision
from extauthz.model.keeping import Keeping
from extauthz.model.request import Connection, Facts, Refused, Request


class DecisionRecord(Struct, frozen=True, gc=False):
    """What was asked, what was answered and why. Times are seconds since the epoch."""

    decision_id: str
    interaction_id: str
    interaction_id_source: str  # client, generated or replaced
    time: float  # when the Check arrived
    duration: float  # seconds from arrival to decision
    revision: str
    digest: str
    facts: Facts
    decision: Decision
    status: int  # HTTP status the client gets, 200 for an allow
    traceparent: str = ""  # of the gRPC call: Envoy's ext_authz span; "" when absent or malformed
    asked: Request | Connection | Refused | None = None  # for replay: what was asked, and what of it the bundle reads
    keeping: Keeping | None = None
