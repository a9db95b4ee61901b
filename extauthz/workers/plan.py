"""What the supervisor is told by whoever read the settings, and what it and its workers tell each other."""

from typing import Literal

from msgspec import Raw, Struct

from extauthz.admin import AdminOptions
from extauthz.telemetry import LogOptions, MetricsOptions, Report

Cause = Literal[
    "exit",  # by itself, after it had served
    "signal",  # by a signal of somebody else: a crash, the kernel out of memory, kill
    "start",  # it could not start
    "hung",  # it answered nothing for so long that the supervisor ended it
]


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that the supervisor needs. It never reads the configuration, so that all workers have the same."""

    addresses: tuple[str, ...]  # one a worker; port 0 is filled in by the worker's first start and then kept
    settings: Raw  # Settings as JSON, for the workers
    digest: str  # of the configuration
    admin: AdminOptions
    logs: LogOptions
    metrics: MetricsOptions
    journal: str  # the directory in which every worker has its own
    drain_seconds: float  # the longest that a worker takes to stop
    replay_capacity: int  # 0: workers share a store of their own choice
    nonce_key: str  # base64, of DPoP nonces; "" where a file has the keys
    revocations: Raw = Raw(b"[]")  # what is revoked at run time, as workers take it over
    spare: bool = True  # whether a process waits to take the place of one that ends
    ports_file: str = ""
    held: tuple[int, ...] = ()  # descriptors whose locks last as long as the supervisor


class Boot(Struct, frozen=True, kw_only=True):
    """The first thing a worker is told."""

    worker: int  # from 0
    address: str
    settings: Raw
    digest: str
    replay: bool  # whether used proofs are remembered by the supervisor
    nonce_key: str


class Listening(Struct, frozen=True):
    """A worker's word that it serves; `address` with the actual port."""

    address: str


class Failed(Struct, frozen=True):
    """A worker's last word: why it cannot start, and its exit code."""

    code: int
    lines: tuple[str, ...]


class FirstUse(Struct, frozen=True, array_like=True):
    """A question about a proof, answered by `_ANSWERS` in `shared.py`."""

    key: bytes
    expires: int  # seconds since the epoch


class News(Struct, frozen=True):
    """Run-time state that one worker has changed, and how, for the journals of the others."""

    state: Raw
    change: Raw = Raw(b"null")  # of who only joins there is none
    version: int = 0  # the supervisor counts; what is older than what a worker has comes too late


class Beat(Struct, frozen=True):
    """How a worker fares, several times a second."""

    report: Report
    not_ready: tuple[str, ...]
