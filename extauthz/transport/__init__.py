"""gRPC: bytes in, bytes out, health, TLS. Everything about a Check's meaning is elsewhere."""

from extauthz.transport.choose import Choice, UnfitError, open_transport
from extauthz.transport.contract import (
    MAX_MESSAGE,
    METHOD,
    SERVICE,
    Answerer,
    Arrival,
    Later,
    OnShed,
    Spare,
    Transport,
    TransportOptions,
)
from extauthz.transport.listen import ListenOptions
from extauthz.transport.loop import LoopTransport
from extauthz.transport.tls import TlsError, TlsOptions

__all__ = [
    "MAX_MESSAGE",
    "METHOD",
    "SERVICE",
    "Answerer",
    "Arrival",
    "Choice",
    "Later",
    "ListenOptions",
    "LoopTransport",
    "OnShed",
    "Spare",
    "TlsError",
    "TlsOptions",
    "Transport",
    "TransportOptions",
    "UnfitError",
    "open_transport",
]
