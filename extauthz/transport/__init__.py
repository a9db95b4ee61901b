"""gRPC: bytes in, bytes out, health, TLS. Everything about a Check's meaning is elsewhere."""

from extauthz.transport.contract import MAX_MESSAGE, METHOD, SERVICE, Answerer, OnShed, Transport, TransportOptions
from extauthz.transport.listen import ListenOptions
from extauthz.transport.stock import StockTransport
from extauthz.transport.tls import TlsError, TlsOptions

__all__ = [
    "MAX_MESSAGE",
    "METHOD",
    "SERVICE",
    "Answerer",
    "ListenOptions",
    "OnShed",
    "StockTransport",
    "TlsError",
    "TlsOptions",
    "Transport",
    "TransportOptions",
]
