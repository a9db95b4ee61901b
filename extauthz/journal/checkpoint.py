"""Signed statements of what the journal held. Pure: the caller writes them and reads keys.

The signature covers bytes that lie in the file: the event without its last member, after a fixed first line.
"""

from base64 import b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

DOMAIN = b"extauthz journal checkpoint v1\n"

_SIGNATURE_MEMBER = b',"signature":"'
_END = b'"}}'
_TAIL = len(_SIGNATURE_MEMBER) + 88 + len(_END)  # 64 bytes in base64


class Checkpoint(Struct, frozen=True):
    """Same fields as `Checkpoint` in protos/extauthz/v1/journal.proto, without the signature."""

    instance: str
    boot: str
    segment: int
    records: int  # of this boot, before the checkpoint
    position: int  # records of the whole journal, before the checkpoint
    first_time: str
    last_time: str
    head: str
    previous: str
    config_digest: str
    bundle_digest: str
    key_id: str


class Signer:
    """An Ed25519 key and the names by which a verifier knows it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Take the public half's raw bytes and id."""
        self._key = key
        self.public_key = raw_bytes(key.public_key())
        self.key_id = key_id(self.public_key)

    def sign(self, checkpoint: Checkpoint) -> bytes:
        """The signed event as JSON."""
        stated = b'{"checkpoint":%b}' % _encoder.encode(checkpoint)
        signature = b64encode(self._key.sign(DOMAIN + stated))
        return stated[:-2] + _SIGNATURE_MEMBER + signature + _END


class Signed(Struct, frozen=True):
    """An event read back: its statement, the bytes that were signed, and the signature."""

    checkpoint: Checkpoint
    stated: bytes
    signature: bytes


class _Envelope(Struct):
    checkpoint: "_WithSignature"


class _WithSignature(Checkpoint, frozen=True, kw_only=True):
    signature: bytes


_encoder = Encoder()
_decoder = Decoder(_Envelope)


def read_checkpoint(event: bytes) -> Signed | None:
    """Read the event of a checkpoint; None when it is malformed."""
    try:
        read = _decoder.decode(event).checkpoint
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None
    if event[-_TAIL : -_TAIL + len(_SIGNATURE_MEMBER)] != _SIGNATURE_MEMBER:
        return None
    return Signed(read, event[:-_TAIL] + b"}}", read.signature)


def is_signed_by(signed: Signed, key: Ed25519PublicKey) -> bool:
    """Whether the signature is this key's over these bytes."""
    try:
        key.verify(signed.signature, DOMAIN + signed.stated)
    except InvalidSignature:
        return False
    return True


def raw_bytes(key: Ed25519PublicKey) -> bytes:
    """The 32 bytes of RFC 8032."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(public_key: bytes) -> str:
    """The name of a public key: the first 16 hex digits of the SHA-256 of its raw bytes."""
    return sha256(public_key).hexdigest()[:16]
