"""Which transport serves: the loop where this machine can run it, else grpc's own server.

Rule 1: the fallback is for a machine that is unfit, found out before a port is taken; it is never quiet.
Rule 2: grpc is loaded for its own server alone.
"""

import logging
from typing import Literal

from msgspec import Struct

from extauthz.transport.contract import OnShed, Transport, TransportOptions
from extauthz.transport.listen import ListenOptions
from extauthz.transport.loop import LoopTransport
from extauthz.transport.self_check import check_loop

log = logging.getLogger("extauthz.transport")


class Choice(Struct, frozen=True):
    """The transport in use, and why it is not the one that was wished; "" when it is."""

    transport: Transport
    kind: Literal["loop", "stock"]
    fallback: str


class UnfitError(Exception):
    """`transport.kind: loop` was demanded and cannot be had; one line."""


def open_transport(listen: ListenOptions, options: TransportOptions, last_resort: bytes, on_shed: OnShed) -> Choice:
    """Nothing is opened yet. Raises TlsError for bad TLS files, UnfitError where `loop` is demanded and unfit."""
    why = "" if options.kind == "stock" else check_loop()
    if options.kind == "stock" or (why and options.kind == "auto"):
        if why:
            log.error("the loop transport is unfit, the stock transport serves at several times its cost: %s", why)
        from extauthz.transport.stock import StockTransport  # noqa: PLC0415 - rule 2

        return Choice(StockTransport(listen, options, last_resort, on_shed), "stock", why)
    if why:
        message = f"`transport.kind: loop` cannot be had here: {why}"
        raise UnfitError(message)
    return Choice(LoopTransport(listen, options, last_resort, on_shed), "loop", "")
