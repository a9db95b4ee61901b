"""The only door to protobuf: CheckRequest bytes to a Request, a Decision to CheckResponse bytes.

Messages are read with upb and written by hand; `twin` does both with an independent implementation.
"""

from extauthz.wire.ids import decision_id, interaction_id
from extauthz.wire.inbound import InboundOptions, read_check
from extauthz.wire.options import OutboundOptions
from extauthz.wire.outbound import LAST_RESORT, AnswerContext, AnswerWriter, write_answer
from extauthz.wire.peek import peek_credential, peek_own_signature
from extauthz.wire.settle import settle

__all__ = [
    "LAST_RESORT",
    "AnswerContext",
    "AnswerWriter",
    "InboundOptions",
    "OutboundOptions",
    "decision_id",
    "interaction_id",
    "peek_credential",
    "peek_own_signature",
    "read_check",
    "settle",
    "write_answer",
]
