"""How signatures of requests are checked: the sections `messageSignature` and `signedBody` of a profile.

Rule 1: keys are registered by client, in files of the bundle; no message ever brings its own key (SG-03).
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from extauthz.identity.algorithms import ALGORITHMS
from extauthz.identity.htu import Origins
from extauthz.identity.keys import KeySet
from extauthz.model.paths import PathPattern

MAX_AGE: Final = 60  # seconds; the texts of FAPI 2.0 and of Brazil allow no more
MAX_BODY: Final = 1024 * 1024  # bytes; its digest takes 1 ms
DEFAULT_BODY: Final = 256 * 1024  # bytes
MAX_SIGNED_BODY: Final = 256 * 1024  # bytes; reading it takes 4 ms
DEFAULT_SIGNED_BODY: Final = 32 * 1024  # bytes; reading it takes 0.5 ms, and payments have a tenth
Methods = tuple[Annotated[str, Meta(pattern=r"^[A-Z]{1,20}$")], ...]


class Scheme(Struct, frozen=True):
    """A signature algorithm of messages, in terms of those of tokens."""

    jws: tuple[str, ...]  # names that the key's `alg` may have; the first does the work
    registered: bool = True  # in the registry of RFC 9421; others are chosen by the key alone (its section 3.3.7)


# FAPI 2.0 section 5.4 in the words of RFC 9421 section 6.2.2, which has no name for PS256.
SCHEMES: Final[Mapping[str, Scheme]] = {
    "ecdsa-p256-sha256": Scheme(("ES256",)),
    "ed25519": Scheme(("EdDSA", "Ed25519")),
    "rsa-pss-sha512": Scheme(("PS512",)),
    "PS256": Scheme(("PS256",), registered=False),
}


class ClientKeysSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The public keys of one client."""

    file: str  # a JWKS, relative to the bundle


class MessageSignatureSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """HTTP message signatures of requests (RFC 9421, FAPI 2.0 HTTP Signatures)."""

    required: bool = True  # false: a signature is verified where one is sent
    profile: Literal["fapi2-http-signatures"] = "fapi2-http-signatures"  # what must be covered
    methods: Methods = ()  # where it is required; all when empty
    keys: dict[str, ClientKeysSpec]  # by OAuth client id
    algorithms: tuple[str, ...] = tuple(SCHEMES)  # of signatures, as RFC 9421 calls them
    max_age: int | str = 60  # since `created`; at most 60 s
    # What the signature is for (RFC 9421 section 2.3).
    tag: Annotated[str, Meta(pattern=r"^[!#-\[\]-~]{1,64}$")] = "fapi-2-request"
    # What clients call this service, as in `senderConstraint.dpop`, whose value holds when absent.
    public_origin: str | dict[str, str] = ""
    # What Envoy is told as `maxRequestBytes`; 256 KiB when absent, 1 MiB at most.
    max_body_bytes: Annotated[int, Meta(ge=1, le=MAX_BODY)] | None = None


class SignedBodySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Bodies that are signed as a whole (Open Finance Brasil, payments)."""

    format: Literal["jws"] = "jws"  # compact serialisation
    media_type: Annotated[str, Meta(pattern=r"^[a-z]+/[a-z0-9.+-]+$")] = "application/jwt"  # of the body
    methods: Methods = ("POST", "PUT", "PATCH")  # where a signed body is required
    algorithms: tuple[str, ...] = ("PS256",)  # of signatures (RFC 7518)
    # `aud`: URLs, whose path may be a pattern; the URL that was called when empty.
    audience: tuple[str, ...] = ()
    organisations: str  # `data.<file>`: the organisation id (`iss`) by OAuth client id
    keys: dict[str, ClientKeysSpec]  # by OAuth client id
    max_age: int | str = 60  # how far `iat` may be from now, either way; at most 60 s
    # What clients call this service, as in `senderConstraint.dpop`, whose value holds when absent.
    public_origin: str | dict[str, str] = ""
    # Where a body is good once, as in `senderConstraint.dpop`.
    once: Literal["everywhere", "perProxy"] = "everywhere"
    # What Envoy is told as `maxRequestBytes`; 32 KiB when absent, 256 KiB at most.
    max_body_bytes: Annotated[int, Meta(ge=1, le=MAX_SIGNED_BODY)] | None = None


class ClientKeyRules(Struct, frozen=True):
    """Whose keys a file holds, for `parse_jwks`."""

    algorithms: tuple[str, ...]
    issuer: str = ""
    min_rsa_bits: int = 2048  # FAPI 2.0 section 5.4
    digest: bytes = b""


class MessageRules(Struct, frozen=True):
    """The compiled `messageSignature`. Times are whole seconds."""

    required: bool
    methods: frozenset[str]
    keys: Mapping[str, KeySet]
    algorithms: tuple[str, ...]
    max_age: int
    tag: str
    origins: Origins
    max_body: int

    def is_required(self, method: str) -> bool:
        """Whether a request may not come without a signature."""
        return self.required and (not self.methods or method in self.methods)


class Audience(Struct, frozen=True):
    """An accepted `aud`."""

    origin: str
    path: PathPattern


class BodyRules(Struct, frozen=True):
    """The compiled `signedBody`. Times are whole seconds."""

    media_type: str
    methods: frozenset[str]
    algorithms: frozenset[str]
    audience: tuple[Audience, ...]
    organisations: Mapping[str, str]
    keys: Mapping[str, KeySet]
    max_age: int
    origins: Origins
    per_proxy: bool
    max_body: int


class SigningRules(Struct, frozen=True):
    """What a profile demands to be signed; by default nothing."""

    message: MessageRules | None = None
    body: BodyRules | None = None


NOTHING_SIGNED: Final = SigningRules()
JWS_ALGORITHMS: Final = tuple(name for name in ALGORITHMS if not name.startswith("RS"))
