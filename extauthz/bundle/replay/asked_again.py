"""The question that a past decision answered, and who asked it, as far as the record tells."""

from ipaddress import ip_address
from typing import Final, cast

from extauthz.bundle.replay.past import PastRequest
from extauthz.model.kept import ABSENT, MAX_ID, MAX_NAME, OTHER, PSEUDONYM, RANGE
from extauthz.model.paths import CanonicalPath
from extauthz.model.request import Connection, Facts, ForwardedCertificate, Headers, Peer, Request
from extauthz.model.subject import Subject
from extauthz.policy.recorded import STAND_IN, NotKeptError

_CUT: Final = "a name that was too long for the record"
_PORT: Final = "destination.port"
_PATH: Final = "request.path"
_MAX_ROLES: Final = 64
_MAX_ISSUER: Final = 512
_UNKNOWN_PORT: Final = -1  # a kind of its own: see `policy.kinds`


def question(past: PastRequest, headers: Headers, *, needs_port: bool) -> Request | Connection:
    """The question as far as it is known. `needs_port`: whether the bundle tells connections apart by port."""
    decided, kept = past.decided, past.kept
    if STAND_IN in decided.host + decided.principal + decided.tenant + kept.forwarded:
        raise NotKeptError(_CUT)
    if len(decided.principal) >= _MAX_ISSUER or kept.forwarded == OTHER:
        raise NotKeptError(_CUT)
    source = Peer(_address(past, "source.address"), _number(past, "source.port"), decided.principal)
    principal = _other(past, "destination.principal")
    destination = Peer(_address(past, "destination.address"), _number(past, "destination.port"), principal)
    facts = Facts(
        method=decided.method,
        host=decided.host,
        source=source,
        destination=destination,
        client_address=_address(past, "remote.address"),
    )
    if kept.kind == "connection":
        if needs_port and destination.port == _UNKNOWN_PORT:
            raise NotKeptError(_PORT)
        return Connection(facts, source, destination, _other(past, "connection.sni"))
    segments, folded = _segments(past)
    forwarded = ForwardedCertificate(uri=kept.forwarded or decided.principal, hop=kept.hop) if kept.hop else None
    return Request(
        facts=facts,
        method=decided.method,
        host=kept.host or decided.host,
        port=_number(past, "request.port"),
        scheme=_other(past, "request.scheme"),
        path=CanonicalPath("/" + "/".join(segments)),
        segments=segments,
        query="",  # asked by name, see `query`; whether it held a token is part of how the caller was identified
        headers=headers,
        source=source,
        destination=destination,
        forwarded=forwarded,
        sni=_other(past, "connection.sni"),
        case_folded=folded,
    )


def subject_of(past: PastRequest, *, proven: bool) -> Subject:
    """The caller. `proven`: what the token is bound to was shown, and nothing is left to prove."""
    decided, known = past.decided, past.kept.caller
    cut = known.cut or len(decided.roles) >= _MAX_ROLES or len(decided.issuer) >= _MAX_ISSUER
    if cut or len(decided.client) >= MAX_NAME or max(len(decided.token_id), len(decided.key_id)) >= MAX_ID:
        raise NotKeptError(_CUT)
    return Subject(
        issuer=decided.issuer,
        id=past.text(known.subject, "subject.id"),
        issuer_name=known.name,
        client=decided.client,
        tenant=known.tenant,
        roles=decided.roles,
        scopes=known.scopes,
        acr=known.acr,
        acrs=known.acrs,
        auth_time=known.auth_time,
        issued_at=known.issued_at,
        expires_at=known.expires_at,
        token_id=decided.token_id,
        key_id=decided.key_id,
        confirmation=() if proven else known.bound,
        jkt="jkt" if "jkt" in known.bound else "",
        x5t="x5t" if "x5t" in known.bound else "",
        session=past.text(known.session, "subject.session") if known.session else "",
        actors=tuple(past.text(actor, "subject.actors") for actor in known.actors),
    )


def _segments(past: PastRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    segments, folded = [], []
    for written in past.kept.path.split("/") if past.kept.path else ():
        if not written.startswith(PSEUDONYM):
            if written == OTHER or STAND_IN in written:
                raise NotKeptError(_PATH)
            segments.append(written)
            folded.append(written.casefold())
            continue
        exact, _, other = written[1:].partition("|")
        segment = past.named(exact)
        segments.append(segment)
        if STAND_IN not in segment:
            folded.append(segment.casefold())
            continue
        folded.append(past.named(other) if other else segment)
        if other:
            past.folded[segment] = folded[-1]
    return tuple(segments), tuple(folded)


def _address(past: PastRequest, name: str) -> str:
    written = past.kept.values.get(name)
    if written is None or written == OTHER:
        return ""  # whoever reads it asks `need` first
    _, _, around = written.partition(RANGE)
    if around:
        low, _, high = around.partition("-")
        first, last = ip_address(low), ip_address(high)
        past.ranges[name] = (first.version, int(first), int(last))
    return past.text(written, name)


def _other(past: PastRequest, name: str) -> str:
    written = past.kept.values.get(name)
    return "" if written is None or written in {OTHER, ABSENT} else past.text(written, name)


def _number(past: PastRequest, name: str) -> int:
    written = past.kept.values.get(name)
    return _UNKNOWN_PORT if written is None or written == ABSENT else cast("int", past.clear(written, name))
