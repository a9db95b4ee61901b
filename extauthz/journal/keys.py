"""Key files of the journal: read, or made once with mode 0600."""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from extauthz.journal.errors import JournalError
from extauthz.journal.pseudonym import RAW_KEY_PERIOD, PeriodKey, parse_key

PUBLIC_KEY_FILE = "signing.pub"


def load_signing_key(path: str, directory: Path) -> Ed25519PrivateKey:
    """The key of `path`, or the one kept in the directory, made if there is none; its public half is exported."""
    file = Path(path) if path else directory / "signing.key"
    if not path and not file.exists():
        made = Ed25519PrivateKey.generate()
        _create(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        key = load_pem_private_key(_read(file, "signing key"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = f"signing key `{file}` cannot be read: it must be an unencrypted Ed25519 key in PEM"
        raise JournalError(msg) from error
    if not isinstance(key, Ed25519PrivateKey):
        msg = f"signing key `{file}` must be Ed25519, found another kind"
        raise JournalError(msg)
    _export(directory / PUBLIC_KEY_FILE, key.public_key())
    return key


def load_public_key(file: Path) -> Ed25519PublicKey:
    """An Ed25519 public key in PEM. Raises JournalError."""
    try:
        key = load_pem_public_key(_read(file, "public key"))
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = f"public key `{file}` cannot be read: it must be an Ed25519 public key in PEM"
        raise JournalError(msg) from error
    if not isinstance(key, Ed25519PublicKey):
        msg = f"public key `{file}` must be Ed25519, found another kind"
        raise JournalError(msg)
    return key


def load_pseudonym_key(path: str, directory: Path) -> PeriodKey:
    """The key of `path`, or the one kept in the directory, made if there is none."""
    file = Path(path) if path else directory / "pseudonym.key"
    if not path and not file.exists():
        _create(file, f"{RAW_KEY_PERIOD} {secrets.token_hex(32)}\n".encode())
    key = parse_key(_read(file, "pseudonym key"))
    if isinstance(key, str):
        msg = f"pseudonym key `{file}`: {key}"
        raise JournalError(msg)
    return key


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"{what} `{file}` cannot be read: {error.strerror}"
        raise JournalError(msg) from error


def _create(file: Path, content: bytes, mode: int = 0o600) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        msg = f"`{file}` cannot be made: {error.strerror}"
        raise JournalError(msg) from error


def _export(file: Path, key: Ed25519PublicKey) -> None:
    content = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not file.exists():
        _create(file, content, 0o644)
    elif file.read_bytes() != content:  # a new key: the old one stays for the records it signed
        kept = file.with_name(f"signing-{os.urandom(4).hex()}.pub")
        file.rename(kept)
        _create(file, content, 0o644)
