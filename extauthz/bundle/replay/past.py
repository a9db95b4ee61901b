"""What another bundle may read of one decision that is on record.

Rule: what the record has not raises NotKeptError, which becomes "cannot tell"; nothing is made up.
"""

from typing import Any, Final

from msgspec import DecodeError
from msgspec.json import Decoder

from extauthz.bundle.replay.decided import Decided, Known
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
    OTHER,
    PSEUDONYM,
    RANGE,
    UNREADABLE,
    Kept,
    claim_name,
    header_name,
    query_name,
)
from extauthz.model.reasons import Reason
from extauthz.policy.claims import ABSENT as NO_CLAIM
from extauthz.policy.claims import UNREADABLE as NO_CLAIMS
from extauthz.policy.recorded import STAND_IN, NotKeptError

_KEY: Final = "the pseudonym key"
_ASKED_BY_NAME: Final = frozenset({"request.headers", "request.query", "request.auth.claims"})
_json: Final = Decoder()


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
            return self.named(written[1:].partition(RANGE)[0])
        value = self.clear(written, attribute)
        if not isinstance(value, str):
            raise NotKeptError(attribute)
        return value

    def clear(self, written: str, attribute: str) -> Any:  # noqa: ANN401 - any JSON value
        """The value that is written in the clear."""
        if not written.startswith(CLEAR):
            raise NotKeptError(attribute)
        try:
            value = _json.decode(written[1:])
        except DecodeError:
            raise NotKeptError(attribute) from None
        if STAND_IN in written:
            raise NotKeptError(attribute)
        return value

    def named(self, pseudonym: str) -> str:
        """The text of that pseudonym, or its stand-in."""
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
        return self.clear(written, attribute)

    def is_integer(self, claim: str) -> bool:
        """See `policy.recorded.Past`."""
        return self.kept.caller.claims.get(claim) == INTEGER


def _texts_in(value: object) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, list):
        return set[str]().union(*map(_texts_in, value))
    if isinstance(value, dict):
        return set(value).union(*map(_texts_in, value.values()))
    return set()
