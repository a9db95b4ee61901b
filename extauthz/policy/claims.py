"""The token's claims as rules read them: only those that any rule names are decoded, the others are stepped over.

A token of Keycloak holds some twenty: 2.8 us to decode, 0.4 us without those that nobody reads.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

import msgspec

ABSENT: Final = object()  # the token has no such claim
UNREADABLE: Final = object()  # the claims are no JSON object
_MAX_NAMES: Final = 64  # more are not worth the room that each takes in every token's


class ClaimsReader:
    """Decodes the claims of some names."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names` of top-level claims; too many are none, and all claims are decoded when one is asked for."""
        known = sorted(set(names))
        fields = {name: f"c{number}" for number, name in enumerate(known if len(known) <= _MAX_NAMES else ())}
        made = msgspec.defstruct(
            "Claims",
            [(field, Any, ABSENT) for field in fields.values()],
            rename={field: name for name, field in fields.items()},
            gc=False,
        )
        self._decode = msgspec.json.Decoder(made).decode
        self.fields = {name: attrgetter(field) for name, field in fields.items()}  # how to take a claim from `decode`

    def decode(self, raw: bytes) -> object:
        """What `fields` take, or UNREADABLE."""
        try:
            return self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return UNREADABLE


ALL_CLAIMS: Final = ClaimsReader(())  # knows no names, so that all are decoded for any


def decode_all(raw: bytes) -> Any:  # noqa: ANN401 - a JSON object as a dict, or UNREADABLE
    """All claims."""
    try:
        claims = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREADABLE
    return claims if isinstance(claims, dict) else UNREADABLE
