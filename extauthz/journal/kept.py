"""What a record keeps of a Check for replay, written as `model.kept` says.

Rule 1: a value is written because the bundle that decided reads it, and as a pseudonym unless the operator listed its
name; tokens, cookies and bodies have no way in.
Rule 2: what a caller brings to many Checks is written once and kept.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, Encoder

from extauthz.journal.pseudonym import AttributeNames, Pseudonyms
from extauthz.model.decision import Evidence
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
_SCOPE: Final = "scope"  # rules split it at spaces
_INT64: Final = (-(2**63), 2**63 - 1)
_EMPTY: Final = '=""'
_REFUSED: Final = b'{"kind":"refused"}'
_OTHER: Final = b'{"kind":"other"}'
_MAX_ADDRESSES: Final = 10_000  # of a tenant and month

_encode = Encoder().encode
_claims = Decoder(dict[str, Any])


class _Caller(Struct, frozen=True, gc=False):
    """What was written of a caller under one bundle."""

    subject: Subject
    keeping: Keeping
    text: str


class Keeper:
    """Writes what records keep. Threads may share it."""

    def __init__(self, pseudonyms: Pseudonyms, clear: tuple[str, ...] = ()) -> None:
        """`clear`: attributes whose values are no secret and name nobody."""
        self._pseudonyms = pseudonyms
        self._clear = frozenset(clear)
        self._callers = 0

    def read(self, record: DecisionRecord, period: str) -> bytes:
        """What this record keeps, as JSON; `period` is its month."""
        asked, keeping, evidence = record.asked, record.keeping, record.decision.evidence
        if isinstance(asked, Refused):
            return _REFUSED
        tenant = evidence.tenant
        if asked is None or keeping is None or len(tenant) > MAX_NAME or not tenant.isprintable():
            return _OTHER
        names = self._pseudonyms.attributes(tenant, period)
        try:
            if isinstance(asked, Request):
                return self._request(asked, evidence, keeping, names, record.facts.host)
            return f'{{"kind":"connection"{self._others(asked, keeping, names)}}}'.encode()
        except UnicodeEncodeError:  # half a surrogate pair
            return _OTHER

    def _request(self, asked: Request, evidence: Evidence, keeping: Keeping, names: AttributeNames, host: str) -> bytes:
        """Put together as text, for its parts are the same again and again: a third of what encoding takes."""
        subject, forwarded = evidence.subject, asked.forwarded
        more = self._others(asked, keeping, names) if keeping.others else ""
        if sent := asked.headers.among(keeping.names):
            more = f'{more},"headers":{{{self._headers(sent, asked, keeping, names)}}}'
        if asked.query and keeping.query and (found := self._query(asked.query, keeping.query, names)):
            more = f'{more},"query":{_json(found)}'
        if forwarded is not None:
            uri = forwarded.uri
            more = f'{more},"hop":{forwarded.hop}'
            if uri != asked.source.principal:
                more = f'{more},"forwarded":{_json(uri if uri and len(uri) <= MAX_TEXT else OTHER)}'
        if asked.host != host:
            more = f'{more},"host":{_json(asked.host)}'
        if subject.issuer:
            # A token's Subject is one object as long as the token is cached; that of a service is made for every Check.
            known: _Caller | None = names.callers.get(id(subject))
            text = (
                known.text
                if known is not None and known.subject is subject and known.keeping is keeping
                else self._caller(subject, keeping, names)
            )
            more = f'{more},"caller":{text}'
        profile = keeping.profiles.get(evidence.profile) or keeping.profiles.get("", "{}")
        return f'{{"path":{_path(asked, keeping.literals, names)},"profile":{profile}{more}}}'.encode()

    def _others(self, asked: Request | Connection, keeping: Keeping, names: AttributeNames) -> str:
        if not keeping.others:
            return ""
        return f',"values":{_json({name: self._other(name, asked, keeping, names) for name in keeping.others})}'

    # --- requests

    def _headers(self, sent: list[str], request: Request, keeping: Keeping, names: AttributeNames) -> str:
        """Members of an object. Names of headers need no escape, and few values do."""
        found, get, marked = [], request.headers.get, keeping.marked
        for name in sent:
            if name in marked:
                found.append(f'"{name}":"{OTHER}"')
            else:
                value = self._header(name, get(name) or "", names)
                found.append(f'"{name}":{_json(value) if value.startswith(CLEAR) else _quoted(value)}')
        return ",".join(found)

    def _header(self, name: str, value: str, names: AttributeNames) -> str:
        if "," in value:  # of which there is one, too, if the header was sent twice
            return OTHER
        if name in _VERSIONS and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
            return _in_clear(value)
        if self._clear and header_name(name) in self._clear and _is_plain(value):
            return _in_clear(value)
        return _text(value, names)

    def _query(self, raw: str, wanted: tuple[str, ...], names: AttributeNames) -> dict[str, str]:
        query = read_query(raw)
        if query is None:
            return dict.fromkeys(wanted, UNREADABLE)
        found: dict[str, str] = {}
        for name in wanted:
            value = query.find(name)
            if value is None:
                found[name] = UNREADABLE
            elif value:
                found[name] = _text(value[0], names)
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

    def _caller(self, subject: Subject, keeping: Keeping, names: AttributeNames) -> str:
        """Written now, or a service's of before."""
        is_service = subject.issuer_name == SERVICE
        key = hash(subject.id) if is_service else id(subject)
        known: _Caller | None = names.callers.get(key)
        if is_service and known is not None and known.keeping is keeping and known.subject == subject:
            return known.text
        text = _json(self._write_caller(subject, keeping, names))
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


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return _encode(value).decode()


def _quoted(text: str) -> str:
    return f'"{text}"'


def _is_plain(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()


def _in_clear(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return CLEAR + _json(value)


def _text(text: str, names: AttributeNames) -> str:
    if len(text) > MAX_TEXT or not text.isprintable():
        return OTHER
    return PSEUDONYM + names(text) if text else _EMPTY


def _path(request: Request, literals: frozenset[str], names: AttributeNames) -> str:
    """As JSON."""
    segments, folded, path = request.segments, request.folded, request.path
    if folded is segments and len(path) <= MAX_TEXT and path.isprintable():
        found = [segment if segment in literals else PSEUDONYM + names(segment) for segment in segments]
        text = "/".join(found)
        return _json(text) if '"' in path else _quoted(text)  # there is no backslash in a path
    found = []
    for segment, other in zip(segments, folded, strict=True):
        text = segment if segment in literals else _text(segment, names)
        if other != segment and text.startswith(PSEUDONYM):
            text = f"{text}|{names(other)}"
        found.append(text)
    return _json("/".join(found))


def _address_of(name: str, asked: Request | Connection) -> str:
    if name == "source.address":
        return asked.source.address
    return asked.facts.client_address if name == "remote.address" else asked.destination.address


def _address(name: str, text: str, keeping: Keeping, names: AttributeNames) -> str:
    """With the range in which the bundle tells no address from another."""
    known: tuple[Keeping, str] | None = names.addresses.get((name, text))
    if known is not None and known[0] is keeping:  # another bundle tells other addresses apart
        return known[1]
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
    names.addresses[name, text] = (keeping, found)
    return found
