"""What a record keeps of a Check for replay, written as `model.kept` says.

Rule 1: a value is written because the bundle that decided reads it, and as a pseudonym unless the operator listed its
name; tokens, cookies and bodies have no way in.
Rule 2: what a caller brings to many Checks is written once and kept.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder, Encoder

from extauthz.journal.pseudonym import AttributeNames, Pseudonyms
from extauthz.model.keeping import Keeping
from extauthz.model.kept import (
    ABSENT,
    ADDRESSES,
    CLEAR,
    INTEGER,
    MAX_ID,
    MAX_NAME,
    MAX_TEXT,
    OTHER,
    PSEUDONYM,
    RANGE,
    UNREADABLE,
    KeptCaller,
    claim_name,
    header_name,
)
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Connection, Refused, Request
from extauthz.model.subject import SERVICE, Subject
from extauthz.policy.query import read_query

_MAX_CALLERS: Final = 50_000  # more than the cache of tokens has by default; some 500 bytes each
_MAX_LISTED: Final = 64
_VERSIONS: Final = ("x-v", "x-min-v")  # CDR: numbers that name nobody
_MAX_DIGITS: Final = 9
_NOTHING: Final = Raw()
_SCOPE: Final = "scope"  # rules split it at spaces
_INT64: Final = (-(2**63), 2**63 - 1)
_EMPTY: Final = '=""'
_OTHER: Final = b'{"kind":"other"}'
_MAX_ADDRESSES: Final = 10_000  # of a tenant and month

_encoder = Encoder()
_claims = Decoder(dict[str, Any])


class _Written(Struct, frozen=True, omit_defaults=True, gc=False):
    """`Kept`, with what was encoded before."""

    kind: str = ""
    profile: Raw = _NOTHING
    caller: Raw = _NOTHING
    path: list[str] = []
    host: str = ""
    forwarded: str = ""
    hop: int = 0
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    values: dict[str, str] = {}


class _Caller(Struct, frozen=True, gc=False):
    """What was written of a caller under one bundle."""

    subject: Subject
    keeping: Keeping
    text: Raw


class Keeper:
    """Writes what records keep. Threads may share it."""

    def __init__(self, pseudonyms: Pseudonyms, clear: tuple[str, ...] = ()) -> None:
        """`clear`: attributes whose values are no secret and name nobody."""
        self._pseudonyms = pseudonyms
        self._clear = frozenset(clear)
        self._callers = 0

    def read(self, record: DecisionRecord, period: str) -> bytes:
        """What this record keeps, as JSON; `period` is its month."""
        asked, keeping = record.asked, record.keeping
        if isinstance(asked, Refused):
            return b'{"kind":"refused"}'
        tenant = record.decision.evidence.tenant
        if asked is None or keeping is None or len(tenant) > MAX_NAME or not tenant.isprintable():
            return _OTHER
        try:
            return self._write(record, asked, keeping, period)
        except UnicodeEncodeError:  # half a surrogate pair
            return _OTHER

    def _write(self, record: DecisionRecord, asked: Request | Connection, keeping: Keeping, period: str) -> bytes:
        evidence = record.decision.evidence
        names = self._pseudonyms.attributes(evidence.tenant, period)
        values = {name: self._other(name, asked, keeping, names) for name in keeping.others} if keeping.others else {}
        if isinstance(asked, Connection):
            return _encoder.encode(_Written("connection", values=values))
        subject, forwarded = evidence.subject, asked.forwarded
        profile = keeping.profiles.get(evidence.profile)
        return _encoder.encode(
            _Written(
                "",
                _NOTHING if profile is None else Raw(profile),
                self._caller(subject, keeping, names) if subject.issuer else _NOTHING,
                _path(asked, keeping.literals, names),
                "" if asked.host == record.facts.host else asked.host,
                "" if forwarded is None else forwarded.uri if len(forwarded.uri) <= MAX_TEXT else OTHER,
                0 if forwarded is None else forwarded.hop,
                self._headers(asked, keeping, names),
                self._query(asked, keeping.query, names) if keeping.query else {},
                values,
            )
        )

    # --- requests

    def _headers(self, request: Request, keeping: Keeping, names: AttributeNames) -> dict[str, str]:
        get = request.headers.get
        found: dict[str, str] = {}
        for name in keeping.headers:
            value = get(name)
            found[name] = ABSENT if value is None else self._header(name, value, request, names)
        for name in keeping.marked:
            value = get(name)
            if value is None:
                found[name] = ABSENT
            elif name in _VERSIONS and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
                found[name] = _in_clear(value)
            else:
                found[name] = OTHER
        return found

    def _header(self, name: str, value: str, request: Request, names: AttributeNames) -> str:
        if "," in value or request.headers.is_repeated(name):
            return OTHER
        if self._clear and header_name(name) in self._clear and _is_plain(value):
            return _in_clear(value)
        return _text(value, names)

    def _query(self, request: Request, wanted: tuple[str, ...], names: AttributeNames) -> dict[str, str]:
        if not request.query:
            return dict.fromkeys(wanted, ABSENT)
        query = read_query(request.query)
        if query is None:
            return dict.fromkeys(wanted, UNREADABLE)
        found: dict[str, str] = {}
        for name in wanted:
            value = query.find(name)
            found[name] = UNREADABLE if value is None else _text(value[0], names) if value else ABSENT
        return found

    def _other(self, name: str, asked: Request | Connection, keeping: Keeping, names: AttributeNames) -> str:
        if name in ADDRESSES:
            return _address(name, _address_of(name, asked), keeping, names)
        match name:
            case "destination.port":
                return _in_clear(asked.destination.port)
            case "destination.principal":
                principal = asked.destination.principal
                return _in_clear(principal) if _is_plain(principal) else OTHER
            case "connection.sni":
                return _in_clear(asked.sni) if _is_plain(asked.sni) else OTHER
            case "source.port":
                return _in_clear(asked.source.port)
        if isinstance(asked, Connection):
            return ABSENT
        if name == "request.port":
            return _in_clear(asked.port)
        return _in_clear(asked.scheme) if _is_plain(asked.scheme) else OTHER

    # --- callers

    def _caller(self, subject: Subject, keeping: Keeping, names: AttributeNames) -> Raw:
        # A token's Subject is one object as long as the token is cached; that of a service is made for every Check.
        is_service = subject.issuer_name == SERVICE
        key = hash(subject.id) if is_service else id(subject)
        known: _Caller | None = names.callers.get(key)
        if (
            known is not None
            and known.keeping is keeping
            and (known.subject is subject or (is_service and known.subject == subject))
        ):
            return known.text
        text = Raw(_encoder.encode(self._write_caller(subject, keeping, names)))
        if self._callers >= _MAX_CALLERS:
            self._pseudonyms.forget_written()
            self._callers = 0
            return text
        self._callers += 1
        names.callers[key] = _Caller(subject, keeping, text)
        return text

    def _write_caller(self, subject: Subject, keeping: Keeping, names: AttributeNames) -> KeptCaller:
        texts = (subject.issuer, subject.id, subject.tenant, subject.acr, subject.session)
        lists = (subject.scopes, subject.acrs, subject.actors, subject.roles)
        shown = (
            all(map(_is_plain, texts))
            and all(len(found) <= _MAX_LISTED and all(map(_is_plain, found)) for found in lists)
            and len(subject.client) <= MAX_NAME
            and all(len(text) <= MAX_ID for text in (subject.token_id, subject.key_id))
        )
        bound = [name for name, value in (("x5t", subject.x5t), ("jkt", subject.jkt)) if value]
        return KeptCaller(
            kind="service" if subject.issuer_name == SERVICE else "token",
            name=subject.issuer_name,
            issuer=keeping.issuers.get(subject.issuer_name, ""),
            cut=not shown,
            expires_at=subject.expires_at,
            issued_at=subject.issued_at,
            auth_time=subject.auth_time,
            bound=tuple(bound) or (("cnf",) if subject.confirmation else ()),
            claims=self._write_claims(subject, keeping.claims, names),
            subject=_text(subject.id, names),
            tenant=subject.tenant[:MAX_TEXT] if shown else "",
            scopes=subject.scopes if shown else (),
            acr=subject.acr if shown else "",
            acrs=subject.acrs if shown else (),
            session=_text(subject.session, names) if subject.session else "",
            actors=tuple(OTHER if "," in actor else _text(actor, names) for actor in subject.actors) if shown else (),
        )

    def _write_claims(self, subject: Subject, wanted: tuple[str, ...], names: AttributeNames) -> dict[str, str]:
        if not wanted:
            return {}
        try:
            claims: Mapping[str, Any] = _claims.decode(subject.claims)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            return dict.fromkeys(wanted, UNREADABLE)
        return {name: self._claim(name, claims[name], names) if name in claims else ABSENT for name in wanted}

    def _claim(self, name: str, value: Any, names: AttributeNames) -> str:  # noqa: ANN401 - any JSON value
        if isinstance(value, bool):
            return _in_clear(value)
        if self._clear and claim_name(name) in self._clear:
            return _in_clear(value)
        if isinstance(value, str):
            return OTHER if name == _SCOPE and " " in value else _text(value, names)
        if isinstance(value, int):
            return INTEGER if _INT64[0] <= value <= _INT64[1] else OTHER
        if isinstance(value, list) and len(value) <= _MAX_LISTED:
            found = [
                _text(member, names) if isinstance(member, str) and "," not in member else OTHER for member in value
            ]
            return f"[{' '.join(found)}]" if OTHER not in found and _EMPTY not in found else OTHER
        return OTHER


def _is_plain(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()


def _in_clear(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return CLEAR + _encoder.encode(value).decode()


def _text(text: str, names: AttributeNames) -> str:
    if len(text) > MAX_TEXT or not text.isprintable():
        return OTHER
    return PSEUDONYM + names(text) if text else _EMPTY


def _path(request: Request, literals: frozenset[str], names: AttributeNames) -> list[str]:
    segments, folded = request.segments, request.folded
    if folded is segments:
        return [segment if segment in literals else _text(segment, names) for segment in segments]
    found = []
    for segment, other in zip(segments, folded, strict=True):
        text = segment if segment in literals else _text(segment, names)
        if other != segment and text.startswith(PSEUDONYM):
            text = f"{text}/{names(other)}"
        found.append(text)
    return found


def _address_of(name: str, asked: Request | Connection) -> str:
    if name == "source.address":
        return asked.source.address
    return asked.facts.client_address if name == "remote.address" else asked.destination.address


def _address(name: str, text: str, keeping: Keeping, names: AttributeNames) -> str:
    """With the range in which the bundle tells no address from another."""
    known = names.addresses.get((name, text))
    if known is not None:
        return known
    found = _text(text, names)
    try:
        address = ip_address(text)
    except ValueError:
        return found
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) and "%" not in text else None
    address = mapped or address
    around = keeping.ranges[name].around(address.version, int(address)) if "%" not in text else None
    if around is not None:
        kind = IPv4Address if address.version == 4 else IPv6Address  # noqa: PLR2004 - the IP version
        found = f"{found}{RANGE}{kind(around[0])}-{kind(around[1])}"
    if len(names.addresses) >= _MAX_ADDRESSES:
        names.addresses.clear()
    names.addresses[name, text] = found
    return found
