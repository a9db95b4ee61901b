"""How a registry is shown who asks: nothing, HTTP Basic, a token of ours, or one of its token server.

The token server is where the registry's challenge says (`WWW-Authenticate: Bearer realm=…`), so a registry could send
our password anywhere: it goes to the registry's own host and to hosts that the settings name, and nowhere else.
"""

import re
from typing import Final
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from msgspec import Struct

from extauthz.sources.bundles.download import Answer, Downloads, refused
from extauthz.sources.bundles.options import FetchOptions
from extauthz.sources.bundles.origin import UnreachableError
from extauthz.sources.bundles.reference import Reference

_MAX_ANSWER: Final = 64 << 10
_PARAMETER: Final = re.compile(r'([a-z]+)="([^"\\]{0,2048})"')
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}


class _Granted(Struct):
    """What a token server answers; either name is used."""

    token: str = ""
    access_token: str = ""


class RegistryToken:
    """The headers that the registry wants, as far as its challenges have told."""

    def __init__(self, reference: Reference, options: FetchOptions, downloads: Downloads) -> None:
        self._reference, self._options, self._downloads = reference, options, downloads
        self._known: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        """For the next question. Raises UnreachableError."""
        return self._downloads.bearer() or self._known

    def renew(self, answer: Answer) -> bool:
        """Learn from a 401; whether asking again has any hope. Raises UnreachableError."""
        if self._options.token_file:
            return False
        scheme, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() == "basic":
            fresh = self._downloads.basic()
        elif scheme.lower() == "bearer":
            fresh = self._granted(dict(_PARAMETER.findall(rest)))
        else:
            return False
        if not fresh or fresh == self._known:
            return False
        self._known = fresh
        return True

    def _granted(self, challenge: dict[str, str]) -> dict[str, str]:
        realm = challenge.get("realm", "")
        self._require_known(realm)
        asked = {"service": challenge.get("service", ""), "scope": f"repository:{self._reference.repository}:pull"}
        mark = "&" if "?" in realm else "?"
        uri = realm + mark + urlencode({name: value for name, value in asked.items() if value})
        headers = {"accept": "application/json", **self._downloads.basic()}
        answer = self._downloads.get(uri, headers, max_bytes=_MAX_ANSWER)
        if answer.status != httpx.codes.OK:
            raise refused(realm, answer)
        try:
            granted = msgspec.json.decode(answer.body, type=_Granted)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            granted = _Granted()
        token = granted.token or granted.access_token
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            message = f"`{realm}` gave no token"
            raise UnreachableError(message)
        return {"authorization": f"Bearer {token}"}

    def _require_known(self, realm: str) -> None:
        try:
            parts = urlsplit(realm)
            host = parts.netloc.lower()
        except ValueError:
            host = ""
        bare = host.removesuffix(_DEFAULT_PORTS.get(parts.scheme, "")) if host else ""
        known = {self._reference.registry.lower(), *(name.lower() for name in self._options.token_hosts)}
        if not host or not {host, bare} & known:
            where = f"the registry sends us to `{realm[:200]}` for a token"
            message = f"{where}: name that host in `fetch.tokenHosts` if it is right"
            raise UnreachableError(message)
