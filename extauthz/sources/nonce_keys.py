"""The keys of DPoP nonces, from a file that all replicas have (RFC 9449 section 8)."""

from os import urandom
from pathlib import Path

from msgspec import Struct

from extauthz.identity import NonceKeys
from extauthz.sources.replay_store import ReplayOptions

# 32 random bytes have 43 characters in base64.
MIN_CHARACTERS = 32
_MAX_KEYS = 4


class DpopOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What servers share about DPoP; how proofs are checked is in the bundle."""

    # A line a key, e.g. of `openssl rand -base64 32`: the first makes nonces, the others are still accepted.
    nonce_key_file: str = ""  # "": a random key, which no other replica knows and which ends with the process
    replay: ReplayOptions = ReplayOptions()


class NonceKeyError(Exception):
    """The file cannot be used; the message says why, without its content."""


def load_nonce_keys(options: DpopOptions) -> NonceKeys:
    """Read the file, or make a key. Raises NonceKeyError."""
    if not options.nonce_key_file:
        return NonceKeys((urandom(32),))
    try:
        lines = Path(options.nonce_key_file).read_bytes().split()
    except OSError as error:
        message = f"`dpop.nonceKeyFile`: the file cannot be read: {(error.strerror or str(error)).lower()}"
        raise NonceKeyError(message) from error
    if not lines or len(lines) > _MAX_KEYS or any(len(line) < MIN_CHARACTERS for line in lines):
        message = f"`dpop.nonceKeyFile`: it must hold 1 to {_MAX_KEYS} lines of {MIN_CHARACTERS} characters or more"
        raise NonceKeyError(message)
    return NonceKeys(tuple(lines))
