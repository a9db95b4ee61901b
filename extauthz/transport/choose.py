"""Which transport serves: the loop where this grpcio can be driven so, else grpc's own server.

Rule 1: the fallback is for a grpcio that is unfit, found out before a port is taken; it is never quiet.
"""

import logging
from typing import Literal

import grpc
from msgspec import Struct

from extauthz.transport.contract import OnShed, Transport, TransportOptions
from extauthz.transport.listen import ListenOptions
from extauthz.transport.loop import LoopTransport
from extauthz.transport.self_check import check_loop
from extauthz.transport.stock import StockTransport

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
        return Choice(StockTransport(listen, options, last_resort, on_shed), "stock", why)
    if why:
        message = f"`transport.kind: loop` cannot be had with grpcio {grpc.__version__}: {why}"
        raise UnfitError(message)
    return Choice(LoopTransport(listen, options, last_resort, on_shed), "loop", "")
