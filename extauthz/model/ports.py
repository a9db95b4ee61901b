"""What a decision may ask of state that changes. Each answers from memory, at once, and never raises."""

from typing import Protocol

from extauthz.model.subject import Subject


class TokenCache(Protocol):
    """Verified tokens of one snapshot. Who reads must still check the times against `now`."""

    def get(self, key: bytes) -> Subject | None:
        """The Subject kept under `key`, a digest of issuer keys and token."""
        ...

    def put(self, key: bytes, subject: Subject) -> None:
        """Keep `subject`; may drop others, or this one."""
        ...


class NoTokenCache:
    """Verifies every time: for `check`, `test` and `explain`."""

    def get(self, key: bytes) -> Subject | None:  # noqa: ARG002
        """Nothing is kept."""
        return None

    def put(self, key: bytes, subject: Subject) -> None:
        """Nothing is kept."""


class ReplayStore(Protocol):
    """Remembers one-time ids (RFC 9449 section 11.1)."""

    def first_use(self, key: bytes, expires: int) -> bool | None:
        """Whether `key` was never seen; it is then remembered until `expires`. None: must be asked outside."""
        ...


class RefuseEveryProof:
    """In force until a real store is there."""

    def first_use(self, key: bytes, expires: int) -> bool | None:  # noqa: ARG002
        """Nothing is a first use."""
        return False
