"""What `extauthz check` takes for the answers of the outside: nobody is asked from the command line."""

import json

from extauthz.bundle.minting import mint_answer, minting_keys
from extauthz.identity import Issuer, KeySet
from extauthz.model.decision import IntrospectToken, Question


class Said:
    """Answers a decision's question with what a file says (RFC 7662, or signed RFC 9701)."""

    def __init__(self, answer: bytes | None, issuers: dict[str, Issuer], now: int) -> None:
        """`answer` is None where no file was given."""
        self._answer, self._issuers, self._now = answer, issuers, now
        self.notes: list[str] = []

    def extra_keys(self) -> dict[str, KeySet]:
        """Keys for an answer that is signed on the spot: where a signed one is due and the file is plain JSON."""
        if self._answer is None:
            return {}
        return {name: minting_keys(issuer) for name, issuer in self._issuers.items() if self._signs_for(issuer)}

    def __call__(self, question: Question) -> bytes | None:
        """What the issuer says."""
        if not isinstance(question, IntrospectToken):
            return None
        name = question.issuer
        if self._answer is None:
            self.notes.append(f"issuer `{name}` would be asked about the token: give its answer, --introspection FILE")
            return None
        self.notes.append(f"the answer of issuer `{name}` is taken as said: it was not asked")
        if self._signs_for(self._issuers[name]):
            return mint_answer(self._issuers[name], json.loads(self._answer), self._now)
        return self._answer

    def _signs_for(self, issuer: Issuer) -> bool:
        settings = issuer.introspection
        return settings is not None and settings.signed and (self._answer or b"").lstrip().startswith(b"{")


class EveryUseIsFirst:
    """A replay store that knows of none."""

    def __init__(self, notes: list[str]) -> None:
        """Says so in `notes`."""
        self._notes = notes

    def first_use(self, key: bytes, expires: int) -> bool:  # noqa: ARG002 - the port's shape
        """Always."""
        self._notes.append("whether the proof or the signed body was used before was not asked: only servers know")
        return True
