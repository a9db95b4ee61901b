"""Whose Checks are waiting: the tenants of credentials that were verified, found again without reading the Check.

Rule 1: it serves fairness under overload and nothing else; a wrong guess costs a caller a retry, never lets one pass.
Rule 2: it holds no credential, and only so many entries.
"""

from extauthz.wire import peek_credential, peek_own_signature


class Callers:
    """Tenants by credential. Threads share it: its dictionaries are replaced, never walked."""

    def __init__(self, entries: int) -> None:
        """Remember about `entries`, and half as many surely."""
        self._half = entries // 2 + 1
        self._young: dict[int, str] = {}
        self._old: dict[int, str] = {}

    def remember(self, raw: bytes, tenant: str) -> None:
        """The credential of the Check `raw` was verified to be of `tenant`."""
        if len(self._young) >= self._half:
            self._young, self._old = {}, self._young
        self._young[hash(peek_credential(raw))] = tenant

    @property
    def is_half_full(self) -> bool:
        """Whether somebody may be forgotten soon: only then is there anything to `keep`."""
        return bool(self._old)

    def keep(self, raw: bytes, tenant: str) -> None:
        """The same of a credential that was found verified: whoever still comes is not forgotten.

        Costs nothing until half of the entries are taken.
        """
        if self._old and hash(peek_credential(raw)) not in self._young:
            self.remember(raw, tenant)

    def whose(self, raw: bytes) -> str | None:
        """The tenant that the Check `raw` seems to come from; None where the credential is not known."""
        key = hash(peek_credential(raw))
        found = self._young.get(key)
        return found if found is not None else self._old.get(key)

    def needs_verifying(self, raw: bytes) -> bool:
        """Whether the Check `raw` seems to bring a signature that was not verified before.

        That of a credential which is not known, or one of its own: a DPoP proof, a signed request.
        """
        return peek_own_signature(raw) or (self.whose(raw) is None and peek_credential(raw) != b"")
