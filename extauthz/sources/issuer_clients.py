"""Who we are to the issuers that we ask: secrets and private keys, read from files and never kept elsewhere.

Rule 1: errors name files, never what is in them.
Rule 2: a file that is replaced counts from the next question on.
"""

import time
from base64 import b64encode
from pathlib import Path
from secrets import token_urlsafe
from typing import NoReturn
from urllib.parse import quote_plus

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from extauthz.identity import ASSERTION_TYPE, SigningKey, client_assertion, signing_algorithm

_MAX_FILE = 64 * 1024


class ClientOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """This service as a client of one issuer: with exactly one of the files."""

    client_id: str  # as the issuer knows us
    client_secret_file: str = ""  # sent by HTTP Basic (RFC 6749 section 2.3.1)
    private_key_file: str = ""  # PEM, without a password: signs an assertion for every question (private_key_jwt)
    key_id: str = ""  # `kid` of that key, if the issuer wants one

    def __post_init__(self) -> None:
        """Refuse what cannot authenticate."""
        if not self.client_id:
            message = "`clientId` is empty"
            raise ValueError(message)
        if bool(self.client_secret_file) == bool(self.private_key_file):
            message = "it needs either `clientSecretFile` or `privateKeyFile`"
            raise ValueError(message)


class CredentialError(Exception):
    """The file cannot be used; the message says why, without its content."""


class Authenticated(Struct, frozen=True):
    """What a request carries to show who asks."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    form: tuple[tuple[str, str], ...] = ()


class Client:
    """Authenticates requests to one issuer. Threads share it."""

    def __init__(self, options: ClientOptions) -> None:
        """Nothing is read yet."""
        self._options = options
        self._file = Path(options.client_secret_file or options.private_key_file)
        self._read: tuple[object, str | SigningKey] | None = None  # state of the file, what it held

    def load(self) -> None:
        """Look whether the file can be used. Raises CredentialError."""
        self._credential()

    def authenticate(self, audience: str) -> Authenticated:
        """For one request to `audience`, the issuer. Raises CredentialError."""
        credential, client_id = self._credential(), self._options.client_id
        if isinstance(credential, str):
            pair = f"{quote_plus(client_id)}:{quote_plus(credential)}".encode()
            return Authenticated(headers=((b"authorization", b"Basic " + b64encode(pair)),))
        times = (int(time.time()), token_urlsafe(16))
        assertion = client_assertion(credential, self._options.key_id, client_id, audience, times)
        form = (("client_id", client_id), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion))
        return Authenticated(form=form)

    def _credential(self) -> str | SigningKey:
        try:
            found = self._file.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._read is None or self._read[0] != state:
                with self._file.open("rb") as file:
                    self._read = (state, self._parse(file.read(_MAX_FILE)))
            return self._read[1]
        except OSError as error:
            self._refuse(f"cannot be read: {(error.strerror or str(error)).lower()}")

    def _parse(self, content: bytes) -> str | SigningKey:
        if self._options.client_secret_file:
            try:
                secret = content.decode("utf-8").strip()
            except UnicodeDecodeError:
                self._refuse("is not a text")
            if not secret or not secret.isprintable():
                self._refuse("holds no secret, or more than one line")
            return secret
        try:
            key = load_pem_private_key(content, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            self._refuse("holds no private key in PEM without a password")
        if not signing_algorithm(key):
            self._refuse("holds a key that is too short or not for signatures: use RSA, P-256 or Ed25519")
        return key  # type: ignore[return-value] # what has a signing algorithm is one

    def _refuse(self, why: str) -> NoReturn:
        message = f"`{self._file}` {why}"
        raise CredentialError(message) from None
