"""TLS and mTLS of the gRPC listener, with certificates that may be replaced while it runs.

Rule 1: new files are taken only when they load and fit together; otherwise the old stay in force, logged once.
"""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from msgspec import Struct

log = logging.getLogger("extauthz.transport")

Made = TypeVar("Made")

# Of TLS 1.2, what HTTP/2 allows (RFC 9113 section 9.2.2); those of 1.3 are all good.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

_Stamp = tuple[tuple[int, int, int], ...]
_Files = tuple[bytes, bytes, bytes | None]


class TlsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Files in PEM; they are read again when they change."""

    certificate: str  # chain, leaf first
    key: str  # private key of the leaf, not encrypted
    client_ca: str = ""  # when given, clients must present a certificate that one of these issued (mTLS)


class TlsError(Exception):
    """The files cannot be used; the message says which and why, in one line."""


def server_context(options: TlsOptions) -> Callable[[], ssl.SSLContext]:
    """What gives the context for each handshake, by files as they are then. Raises TlsError when they are bad now."""
    return Keeper(options, _context).current


def load(options: TlsOptions) -> _Files:
    """Read key, certificate chain and client CA, and check that they are usable together. Raises TlsError."""
    key_pem, chain_pem = _read(options.key, "key"), _read(options.certificate, "certificate")
    leaf = _parse(options.certificate, "certificate", lambda: x509.load_pem_x509_certificates(chain_pem)[0])
    try:
        key = load_pem_private_key(key_pem, None)
    except TypeError:
        message = f"the key `{options.key}` is encrypted: give one without a passphrase"
        raise TlsError(message) from None
    except Exception as error:
        raise _unreadable(options.key, "key") from error
    if _spki(key.public_key()) != _spki(leaf.public_key()):
        message = f"the key `{options.key}` does not belong to the certificate `{options.certificate}`"
        raise TlsError(message)
    if not options.client_ca:
        return key_pem, chain_pem, None
    ca_pem = _read(options.client_ca, "client CA")
    _parse(options.client_ca, "client CA", lambda: x509.load_pem_x509_certificates(ca_pem)[0])
    return key_pem, chain_pem, ca_pem


class Keeper(Generic[Made]):
    """What was made of the files that are in force, and their state then."""

    def __init__(self, options: TlsOptions, make: Callable[[TlsOptions], Made]) -> None:
        self._options, self._make = options, make
        self._paths = [Path(name) for name in (options.key, options.certificate, options.client_ca) if name]
        self._stamp = self._now()
        self.made = make(options)

    def fetch(self) -> Made | None:
        """Called at every handshake; None keeps what is in force."""
        stamp = self._now()
        if stamp == self._stamp:
            return None
        self._stamp = stamp  # whatever comes of it: the same bad files are reported once
        try:
            self.made = self._make(self._options)
        except TlsError as error:
            log.error("the new TLS files are not used, the old stay in force: %s", error)  # noqa: TRY400 - one line
            return None
        log.info("TLS certificate replaced")
        return self.made

    def current(self) -> Made:
        """What is in force now."""
        self.fetch()
        return self.made

    def _now(self) -> _Stamp:
        return tuple(_stat(path) for path in self._paths)


def _stat(path: Path) -> tuple[int, int, int]:
    """Changes with the content, and with the target of a symlink that Kubernetes swaps."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def _context(options: TlsOptions) -> ssl.SSLContext:
    _, _, client_ca = load(options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(options.certificate, options.key)
        if client_ca is not None:
            context.load_verify_locations(cadata=client_ca.decode())
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is trusted need not be a root
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        message = f"the files `{options.certificate}` and `{options.key}` cannot be used together: {error}"
        raise TlsError(message) from error
    return context


def _read(name: str, what: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        message = f"the {what} `{name}` cannot be read: {(error.strerror or 'unknown error').lower()}"
        raise TlsError(message) from error


def _parse(name: str, what: str, parse: Callable[[], x509.Certificate]) -> x509.Certificate:
    try:
        return parse()
    except Exception as error:
        raise _unreadable(name, what) from error


def _unreadable(name: str, what: str) -> TlsError:
    return TlsError(f"the {what} `{name}` is not in PEM or is damaged")


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
