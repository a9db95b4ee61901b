"""One decision as the journal tells it, and what another bundle may read of it.

Rule: what the record has not raises NotKeptError, which becomes "cannot tell"; nothing is made up.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final, cast

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from extauthz.bundle.replay.phases import (
    Identity,
    after_proofs,
    after_signatures,
    header_refused,
    headers_passed,
    identity_of,
    refused_by_proof,
)
from extauthz.model.kept import (
    ABSENT,
    CLEAR,
    INTEGER,
    MAX_ID,
    MAX_NAME,
    OTHER,
    PSEUDONYM,
    RANGE,
    UNREADABLE,
    Kept,
    claim_name,
    header_name,
    query_name,
)
from extauthz.model.paths import CanonicalPath
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, ForwardedCertificate, Headers, Peer, Request
from extauthz.model.subject import Subject
from extauthz.policy.claims import ABSENT as NO_CLAIM
from extauthz.policy.claims import UNREADABLE as NO_CLAIMS
from extauthz.policy.recorded import STAND_IN, NotKeptError

Naming = Callable[[str], str]  # the pseudonym (hex) of a text, in records of one tenant and month

_KEY: Final = "the pseudonym key"
_CUT: Final = "a name that was too long for the record"
_PORT: Final = "destination.port"
_PATH: Final = "request.path"
_MAX_ROLES: Final = 64
_MAX_ISSUER: Final = 512
_UNKNOWN_PORT: Final = -1  # a kind of its own: see `policy.kinds`
_json: Final = Decoder()


class Decided(Struct, frozen=True, gc=False):
    """A decision as it is on record. `kept` is None when nothing was kept for replay."""

    decision_id: str
    time: str  # RFC 3339
    now: int  # the same, whole seconds since the epoch
    outcome: str
    reason: str
    check: str
    profile: str
    policy: str
    rule: str
    route: str
    method: str
    host: str
    tenant: str
    issuer: str
    client: str
    roles: tuple[str, ...]
    token_id: str
    key_id: str
    principal: str
    revision: str
    digest: str
    emergency: str
    kept: Kept | None


class Known:
    """The texts of the bundle that asks, by pseudonym; None where nobody has the key."""

    def __init__(self, naming: Naming, table: Mapping[str, str]) -> None:
        self.naming, self.table = naming, table


class PastRequest:
    """A record that lies on the desk; as `policy.recorded.Past`."""

    def __init__(self, decided: Decided, kept: Kept, known: Known | None) -> None:
        self.decided, self.kept = decided, kept
        self._known = known
        self._own: dict[str, str] | None = None
        self.ranges: dict[str, tuple[int, int, int]] = {}
        self.folded: dict[str, str] = {}
        self.reason = Reason[decided.reason.upper()]
        self.identity: Identity = identity_of(decided.check, self.reason, kept)
        self.proven = after_proofs(self.reason)
        self.signed = after_signatures(self.reason)
        self.refused_by_proof = refused_by_proof(self.reason)
        self.passed_headers = headers_passed(decided.check, self.reason, kept)
        self.refused_header = header_refused(decided.check, self.reason, kept)

    # --- values

    def text(self, written: str, attribute: str) -> str:
        """The text that is meant, or its stand-in."""
        if written.startswith(PSEUDONYM):
            return self._named(written[1:].partition(RANGE)[0])
        value = self._clear(written, attribute)
        if not isinstance(value, str):
            raise NotKeptError(attribute)
        return value

    def _clear(self, written: str, attribute: str) -> Any:  # noqa: ANN401 - any JSON value
        if not written.startswith(CLEAR):
            raise NotKeptError(attribute)
        try:
            value = _json.decode(written[1:])
        except DecodeError:
            raise NotKeptError(attribute) from None
        if STAND_IN in written:
            raise NotKeptError(attribute)
        return value

    def _named(self, pseudonym: str) -> str:
        if self._known is None:
            raise NotKeptError(_KEY)
        found = self._known.table.get(pseudonym)
        if found is None:
            if self._own is None:
                self._own = {self._known.naming(text): text for text in self._own_texts()}
            found = self._own.get(pseudonym)
        return STAND_IN + pseudonym if found is None else found

    def _own_texts(self) -> set[str]:
        """What the record says in the clear: the same value elsewhere has a pseudonym."""
        decided, kept = self.decided, self.kept
        caller = kept.caller
        host = kept.host or decided.host
        labels = host.split(".")
        texts = {
            decided.method,
            decided.tenant,
            decided.issuer,
            decided.client,
            decided.token_id,
            decided.key_id,
            decided.principal,
            *decided.principal.split("/"),
            kept.forwarded,
            caller.name,
            caller.tenant,
            caller.acr,
            *caller.acrs,
            *caller.scopes,
            *decided.roles,
            *(".".join(labels[:count]) for count in range(1, len(labels) + 1)),
            *(segment for segment in kept.path.split("/") if not segment.startswith(PSEUDONYM)),
        }
        for written in (*kept.headers.values(), *kept.query.values(), *kept.values.values(), *caller.claims.values()):
            if written.startswith(CLEAR):
                texts.update(_texts_in(_json.decode(written[1:])))
        return texts | {text.casefold() for text in texts}

    # --- as policy.recorded.Past

    def need(self, attribute: str) -> None:
        """See `policy.recorded.Past`."""
        kind, bracket, _ = attribute.partition("[")
        if bracket and kind in _ASKED_BY_NAME:
            return  # their own readers raise
        written = self.kept.values.get(attribute)
        if written is None or written == OTHER:
            raise NotKeptError(attribute)

    def header(self, name: str) -> str | None:
        """The value of a header."""
        written = self.kept.headers.get(name)
        if written is not None:
            return self.text(written, header_name(name))
        if name not in self.kept.profile.headers:
            raise NotKeptError(header_name(name))
        return None

    def is_sent(self, name: str) -> bool:
        """Whether a header was sent, however often."""
        if name in self.kept.headers:
            return True
        if name not in self.kept.profile.headers:
            raise NotKeptError(header_name(name))
        return False

    def is_known(self, name: str) -> bool:
        """Whether the value of a header that was sent can be told."""
        try:
            return STAND_IN not in (self.header(name) or "")
        except NotKeptError:
            return False

    def query(self, name: str) -> tuple[str, ...] | None:
        """See `policy.recorded.Past`."""
        written = self.kept.query.get(name)
        if written is None:
            if name not in self.kept.profile.query:
                raise NotKeptError(query_name(name))
            return ()
        return None if written == UNREADABLE else (self.text(written, query_name(name)),)

    def has_parameter(self, name: str) -> bool:
        """See `policy.recorded.Past`."""
        if name not in self.kept.profile.query:
            raise NotKeptError(query_name(name))
        return name in self.kept.query

    def claim(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """See `policy.recorded.Past`."""
        if not self.kept.caller.kind or self.kept.caller.kind == "service":
            return NO_CLAIM
        attribute, written = claim_name(name), self.kept.caller.claims.get(name)
        if written is None:
            raise NotKeptError(attribute)
        if written == ABSENT:
            return NO_CLAIM
        if written == UNREADABLE:
            return NO_CLAIMS
        if written.startswith("["):
            return [self.text(member, attribute) for member in written[1:-1].split(" ") if member]
        if written.startswith(PSEUDONYM):
            return self.text(written, attribute)
        return self._clear(written, attribute)

    def is_integer(self, claim: str) -> bool:
        """See `policy.recorded.Past`."""
        return self.kept.caller.claims.get(claim) == INTEGER

    # --- what is asked again

    def asked(self, headers: Headers, *, needs_port: bool) -> Request | Connection:
        """The question as far as it is known. `needs_port`: whether the bundle tells connections apart by port."""
        decided, kept = self.decided, self.kept
        if STAND_IN in decided.host + decided.principal + decided.tenant + kept.forwarded:
            raise NotKeptError(_CUT)
        if len(decided.principal) >= _MAX_ISSUER or kept.forwarded == OTHER:
            raise NotKeptError(_CUT)
        source = Peer(self._address("source.address"), self._number("source.port"), decided.principal)
        principal = self._other("destination.principal")
        destination = Peer(self._address("destination.address"), self._number("destination.port"), principal)
        facts = Facts(
            method=decided.method,
            host=decided.host,
            source=source,
            destination=destination,
            client_address=self._address("remote.address"),
        )
        if kept.kind == "connection":
            if needs_port and destination.port == _UNKNOWN_PORT:
                raise NotKeptError(_PORT)
            return Connection(facts, source, destination, self._other("connection.sni"))
        segments, folded = self._segments()
        forwarded = ForwardedCertificate(uri=kept.forwarded or decided.principal, hop=kept.hop) if kept.hop else None
        return Request(
            facts=facts,
            method=decided.method,
            host=kept.host or decided.host,
            port=self._number("request.port"),
            scheme=self._other("request.scheme"),
            path=CanonicalPath("/" + "/".join(segments)),
            segments=segments,
            query="",  # asked by name, see `query`; whether it held a token is part of how the caller was identified
            headers=headers,
            source=source,
            destination=destination,
            forwarded=forwarded,
            sni=self._other("connection.sni"),
            case_folded=folded,
        )

    def subject(self, *, proven: bool) -> Subject:
        """The caller. `proven`: what the token is bound to was shown, and nothing is left to prove."""
        decided, caller = self.decided, self.kept.caller
        cut = caller.cut or len(decided.roles) >= _MAX_ROLES or len(decided.issuer) >= _MAX_ISSUER
        if cut or len(decided.client) >= MAX_NAME or max(len(decided.token_id), len(decided.key_id)) >= MAX_ID:
            raise NotKeptError(_CUT)
        return Subject(
            issuer=decided.issuer,
            id=self.text(caller.subject, "subject.id"),
            issuer_name=caller.name,
            client=decided.client,
            tenant=caller.tenant,
            roles=decided.roles,
            scopes=caller.scopes,
            acr=caller.acr,
            acrs=caller.acrs,
            auth_time=caller.auth_time,
            issued_at=caller.issued_at,
            expires_at=caller.expires_at,
            token_id=decided.token_id,
            key_id=decided.key_id,
            confirmation=() if proven else caller.bound,
            jkt="jkt" if "jkt" in caller.bound else "",
            x5t="x5t" if "x5t" in caller.bound else "",
            session=self.text(caller.session, "subject.session") if caller.session else "",
            actors=tuple(self.text(actor, "subject.actors") for actor in caller.actors),
        )

    def _segments(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        segments, folded = [], []
        for written in self.kept.path.split("/") if self.kept.path else ():
            if not written.startswith(PSEUDONYM):
                if written == OTHER or STAND_IN in written:
                    raise NotKeptError(_PATH)
                segments.append(written)
                folded.append(written.casefold())
                continue
            exact, _, other = written[1:].partition("|")
            segment = self._named(exact)
            segments.append(segment)
            if STAND_IN not in segment:
                folded.append(segment.casefold())
                continue
            folded.append(self._named(other) if other else segment)
            if other:
                self.folded[segment] = folded[-1]
        return tuple(segments), tuple(folded)

    def _address(self, name: str) -> str:
        written = self.kept.values.get(name)
        if written is None or written == OTHER:
            return ""  # whoever reads it asks `need` first
        _, _, around = written.partition(RANGE)
        if around:
            low, _, high = around.partition("-")
            first, last = ip_address(low), ip_address(high)
            self.ranges[name] = (first.version, int(first), int(last))
        return self.text(written, name)

    def _other(self, name: str) -> str:
        written = self.kept.values.get(name)
        return "" if written is None or written in {OTHER, ABSENT} else self.text(written, name)

    def _number(self, name: str) -> int:
        written = self.kept.values.get(name)
        return _UNKNOWN_PORT if written is None or written == ABSENT else cast("int", self._clear(written, name))


_ASKED_BY_NAME: Final = frozenset({"request.headers", "request.query", "request.auth.claims"})


def _texts_in(value: object) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, list):
        return set[str]().union(*map(_texts_in, value))
    if isinstance(value, dict):
        return set(value).union(*map(_texts_in, value.values()))
    return set()
