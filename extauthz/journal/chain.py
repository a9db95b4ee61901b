"""The hash chain: how a record becomes a line, and how a line is checked.

Rule 1: the hash is taken over bytes that lie in the file, so nobody has to encode anything again to check it.
Rule 2: pure; who holds the chain's state, locks and writes is the writer.
"""

from hashlib import sha256

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder

GENESIS = b"0" * 64  # `prev` of the very first record

_HASH_MEMBER = b',"hash":"'
_TAIL = len(_HASH_MEMBER) + 64 + len(b'"}')


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One record as read back. `event` holds the bytes as they lie in the file."""

    seq: int
    time: str
    event: Raw
    prev: str
    hash: str


_decoder = Decoder(Line)


# A copy is made in a fraction of the time that OpenSSL takes to set up a new hash.
_FRESH = sha256()


def seal(seq: int, time: bytes, event: bytes, prev: bytes) -> tuple[bytes, bytes]:
    """The line of a record, with its newline, and the record's hash (64 hex digits)."""
    body = b'{"seq":%d,"time":"%b","event":%b,"prev":"%b"}' % (seq, time, event, prev)
    hashed = _FRESH.copy()
    hashed.update(body)
    digest = hashed.hexdigest().encode()
    return b'%b,"hash":"%b"}\n' % (body[:-1], digest), digest


def parse_line(line: bytes) -> Line | None:
    """Read a line (without its newline); None when it is no record."""
    try:
        return _decoder.decode(line)
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None


def true_hash(line: bytes) -> str:
    """The hash that belongs to the bytes of this line (without its newline); "" when the line carries none."""
    if line[-_TAIL : -_TAIL + len(_HASH_MEMBER)] != _HASH_MEMBER:
        return ""
    return sha256(line[:-_TAIL] + b"}").hexdigest()


def intact(line: bytes) -> Line | None:
    """The record of this line if it is one and carries its own true hash, else None."""
    record = parse_line(line)
    return record if record is not None and record.hash == true_hash(line) else None
