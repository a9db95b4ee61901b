"""Keyed pseudonyms for subjects and addresses, by tenant and month.

Rule 1: a value has one pseudonym within a tenant and a month, and no visible relation to it anywhere else.
Rule 2: the key of a month yields the keys of later months, never of earlier ones. Who replaces the key file by
        a later month's key (`extauthz audit advance-key`) ends the linkability of everything before.
"""

import re
from hashlib import blake2s
from hmac import digest
from typing import Any, Literal

from msgspec import Struct

from extauthz.model.kept import PSEUDONYM_BYTES
from extauthz.model.memo import Memo

Kind = Literal["subject", "address", "financial-id"]

MIN_KEY_BYTES = 32
RAW_KEY_PERIOD = "2024-01"  # the month a key file without a label is taken to be the key of
_LABELLED = re.compile(rb"(20[0-9]{2}-(?:0[1-9]|1[0-2])) ([0-9a-f]{64})\s*")
_PERIOD = re.compile(r"20[0-9]{2}-(?:0[1-9]|1[0-2])")
# A tenant key is 32 bytes; so many tenants in use at a time are more than one server sees in a month.
_MAX_CACHED_KEYS = 10_000
# A keyed hash costs 2 to 4 us, finding the last one 0.2: callers come back.
_MAX_CACHED = 250_000
_MAX_BYTES = 64 << 20
_ENTRY_BYTES = 250  # beside the texts of the key


class PeriodKey(Struct, frozen=True):
    """A month (`2026-11`) and its key."""

    period: str
    key: bytes


def parse_key(content: bytes) -> PeriodKey | str:
    """Read a key file: `2026-11 <64 hex digits>`, or any 32 bytes or more; or say what is wrong."""
    if match := _LABELLED.fullmatch(content):
        return PeriodKey(match[1].decode(), bytes.fromhex(match[2].decode()))
    if len(content) < MIN_KEY_BYTES:
        return f"a pseudonym key has at least {MIN_KEY_BYTES} bytes, found {len(content)}"
    return PeriodKey(RAW_KEY_PERIOD, digest(content, b"extauthz pseudonym key v1", "sha256"))


def advance(start: PeriodKey, period: str) -> PeriodKey | str:
    """The key of a later month, from which `start` cannot be found; or why not."""
    if not _PERIOD.fullmatch(period):
        return f"period `{period}` must be a month such as `2026-11`"
    steps = _months(period) - _months(start.period)
    if steps < 0:
        return f"the key of `{start.period}` cannot yield the key of the earlier `{period}`"
    key = start.key
    for _ in range(steps):
        key = digest(key, b"extauthz next month", "sha256")
    return PeriodKey(period, key)


def _months(period: str) -> int:
    year, month = period.split("-")
    return int(year) * 12 + int(month)


class _Named(Struct, frozen=True, gc=False):
    """What a pseudonym is of; within an issuer where there is one."""

    kind: Kind
    issuer: str
    value: str
    tenant: str
    period: str


class AttributeNames:
    """Pseudonyms of the attributes that replay compares, of one tenant and month.

    One name for a value, wherever it stands, so that two attributes of one value are seen to be equal. BLAKE2 with a
    key of its own (RFC 7693): 0.4 us, where HMAC takes 1.7 (measured), for most of these values are seen once.
    """

    __slots__ = ("_fresh", "addresses", "callers")

    def __init__(self, tenant_key: bytes) -> None:
        key = digest(tenant_key, b"extauthz attributes", "sha256")
        self._fresh = blake2s(digest_size=PSEUDONYM_BYTES, key=key).copy
        self.callers: dict[int, Any] = {}  # what was written of them, see `journal.kept`
        self.addresses: dict[tuple[str, str], Any] = {}  # likewise

    def __call__(self, text: str) -> str:
        """The pseudonym of `text`, in hex."""
        hashed = self._fresh()
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()


def _weigh(named: _Named, _: str) -> int:
    return _ENTRY_BYTES + len(named.value)  # the other texts are shared with other entries


class Pseudonyms:
    """Makes pseudonyms, keeping the keys of the months and tenants in use. Threads may share it."""

    def __init__(self, start: PeriodKey, unlinkable: bytes) -> None:
        """`unlinkable`: a random key for times before `start`, whose pseudonyms nobody can find again."""
        self._start = start
        self._unlinkable = unlinkable
        self._keys: dict[tuple[str, str], bytes] = {}
        self._attributes: dict[tuple[str, str], AttributeNames] = {}
        self._made: Memo[_Named, str] = Memo(_MAX_CACHED, _MAX_BYTES, _weigh)

    def of(self, kind: Kind, value: str, tenant: str, period: str) -> str:
        """The pseudonym (32 hex digits) of `value`; "" for "". `period` is a month such as `2026-11`."""
        if not value:
            return ""
        named = _Named(kind, "", value, tenant, period)
        return self._made.young.get(named) or self._made.get(named) or self._keep(named)

    def of_subject(self, issuer: str, subject: str, tenant: str, period: str) -> str:
        """The pseudonym of a subject, who is one within its issuer; "" for nobody."""
        if not issuer:
            return ""
        named = _Named("subject", issuer, subject, tenant, period)
        return self._made.young.get(named) or self._made.get(named) or self._keep(named)

    def attributes(self, tenant: str, period: str) -> AttributeNames:
        """The pseudonyms of attributes in records of a tenant and a month."""
        names = self._attributes.get((period, tenant))
        if names is None:
            names = AttributeNames(self._keys.get((period, tenant)) or self._tenant_key(period, tenant))
            if len(self._attributes) >= _MAX_CACHED_KEYS:
                self._attributes = {}
            self._attributes[period, tenant] = names
        return names

    def forget_written(self) -> None:
        """Let go of what was written of callers and addresses."""
        self._attributes = {}

    def _keep(self, named: _Named) -> str:
        made = self._make(named)
        self._made.put(named, made)
        return made

    def _make(self, named: _Named) -> str:
        key = self._keys.get((named.period, named.tenant)) or self._tenant_key(named.period, named.tenant)
        value = f"{named.issuer}\0{named.value}" if named.issuer else named.value
        return digest(key, f"{named.kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")[:16].hex()

    def _tenant_key(self, period: str, tenant: str) -> bytes:
        month = advance(self._start, period)
        month_key = self._unlinkable if isinstance(month, str) else month.key
        key = digest(month_key, b"tenant\0" + tenant.encode("utf-8", "surrogatepass"), "sha256")
        if len(self._keys) >= _MAX_CACHED_KEYS:
            self._keys = {}
        self._keys[period, tenant] = key
        return key
