"""The request that is asked about: from a URL, from its parts, or from a CheckRequest in JSON."""

import json
import re
from pathlib import Path

import click
from msgspec import Struct

from extauthz.cli.check_input import json_object, read_text, wrong
from extauthz.model.paths import Ambiguous, canonicalise
from extauthz.wire.twin import Check, CheckError, Peer, build_check, check_from_json

# A URL taken apart without decoding anything: how the path reads is what is to be found out.
_URL = re.compile(r"(https?)://([^/?#]+)([/?].*)?", re.DOTALL)


class Asked(Struct, frozen=True, kw_only=True):
    """What the command line says about the request."""

    url: str
    host: str
    path: str
    file: Path | None
    method: str
    headers: tuple[str, ...]
    data: str
    principal: str
    source: str

    @property
    def target(self) -> tuple[str, str, str]:
        """Scheme, host, and path with query exactly as typed; empty texts for a file."""
        if self.file is not None:
            return "", "", ""
        if not self.url:
            return "https", self.host, _rooted(self.path)
        match = _URL.fullmatch(self.url)
        if match is None:
            raise click.UsageError(f"`{self.url}` must be http(s)://HOST/PATH")  # noqa: EM102, TRY003 - a sentence for the user
        return match[1], match[2], _rooted(match[3] or "/")


def ambiguity(asked: Asked) -> str:
    """Why the path has no one reading, "" when it has; the answer to a client does not say it."""
    path = asked.target[2]
    found = canonicalise(path) if path else None
    return f"the path is refused for {found.detail}" if isinstance(found, Ambiguous) else ""


def build_request(asked: Asked, token: str) -> bytes:
    """CheckRequest bytes as Envoy would send them, with the token if there is one."""
    if asked.file is not None:
        return _build_from_file(asked.file, token)
    scheme, host, path = asked.target
    headers = [_header(text) for text in asked.headers]
    if token:
        headers.append(("authorization", f"Bearer {token}"))
    return build_check(
        Check(
            method=asked.method,
            path=path,
            host=host,
            scheme=scheme,
            headers=tuple(headers),
            body=asked.data.encode(),
            source=Peer(address=asked.source, port=50000, principal=asked.principal),
        )
    )


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _build_from_file(file: Path, token: str) -> bytes:
    check = json_object(read_text(file), str(file))
    if token:
        at = check
        for step in ("attributes", "request", "http", "headers"):
            below = at.setdefault(step, {})
            if not isinstance(below, dict):
                wrong(f"{file}: `{step}` must be an object")
            at = below
        at["authorization"] = f"Bearer {token}"
    try:
        return check_from_json(json.dumps(check))
    except CheckError as error:
        wrong(f"{file}: {error}")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"`{text}` must be 'NAME: VALUE'")  # noqa: EM102, TRY003
    return name.strip().lower(), value.strip()
