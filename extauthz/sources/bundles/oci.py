"""An artefact in an OCI registry as a source of bundles: manifest and one layer, each with its digest proven.

OCI Distribution Specification 1.1 (pull), OCI Image Specification 1.1 (manifest). Why this is not a library:
docs/decisions/0003-oci.md.

Rule 1: what a digest names is believed only when its SHA-256 is that digest.
Rule 2: credentials go to the registry and to token servers that the settings name; storage that it redirects to gets
        none.
"""

import hashlib
from random import uniform
from typing import Annotated, Final
from urllib.parse import urljoin

import httpx
import msgspec
from msgspec import Meta, Struct

from extauthz.bundle.finding import refusal
from extauthz.sources.bundles.download import Answer, Downloads, refused
from extauthz.sources.bundles.options import FetchOptions
from extauthz.sources.bundles.origin import Brought
from extauthz.sources.bundles.reference import parse_reference
from extauthz.sources.bundles.registry_token import RegistryToken

LAYER_TYPE: Final = "application/vnd.extauthz.bundle.v1.tar+gzip"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_MAX_MANIFEST: Final = 4 << 20  # the specification lets registries refuse larger ones
_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_JITTER: Final = 0.1  # servers of a fleet do not ask in step


class _Descriptor(Struct, rename="camel"):
    media_type: str
    digest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Meta(ge=0)]


class _Manifest(Struct, rename="camel"):
    """What we read of it; there may be more."""

    schema_version: int
    layers: tuple[_Descriptor, ...]
    media_type: str = MANIFEST_TYPE


class OciOrigin:
    """Implements `Origin`. A state is named by the digest of its manifest."""

    def __init__(self, text: str, options: FetchOptions) -> None:
        """Raises ValueError for what is no reference."""
        reference = parse_reference(text)
        if reference is None:
            message = f"`{text}` must be `registry/repository:tag`, `registry/repository@sha256:…` or both"
            raise ValueError(message)
        self.where = text
        self._reference, self._options = reference, options
        scheme = "http" if options.allow_http_loopback and _is_loopback(reference.registry) else "https"
        self._base = f"{scheme}://{reference.registry}/v2/{reference.repository}"
        self._downloads = Downloads(options)
        self._token = RegistryToken(reference, options, self._downloads)
        self._digest = ""

    def check(self) -> None:
        """Read certificates, keys and tokens once. Raises UnreachableError."""
        self._downloads.check()

    def fetch(self, patience: float) -> Brought | None:  # noqa: ARG002 - registries do not hold questions
        """The archive, or None while the tag names the same manifest. Raises UnreachableError, BundleError."""
        uri = f"{self._base}/manifests/{self._reference.wanted}"
        accept = {"accept": MANIFEST_TYPE}
        if self._digest:
            # Of this answer nothing is believed but that nothing changed: who lies there withholds, as he could anyway.
            head = self._ask(uri, accept, _MAX_MANIFEST, "HEAD")
            if head.status == httpx.codes.OK and head.headers.get("docker-content-digest") == self._digest:
                return None
        answer = self._ask(uri, accept, _MAX_MANIFEST)
        if answer.status != httpx.codes.OK:
            raise refused(uri, answer)
        digest = _digest(answer.body)
        if self._reference.digest and digest != self._reference.digest:
            message = f"the registry sent a manifest with digest `{digest}` instead"
            raise refusal(self.where, message, "verify")
        if digest == self._digest:
            return None
        archive = self._layer(_read_manifest(answer.body, self.where))
        self._digest = digest
        return Brought(self.where, archive=archive, tag=digest)

    def knows(self, tag: str) -> None:
        """The manifest's digest."""
        self._digest = tag

    def forget(self) -> None:
        """Download it again."""
        self._digest = ""

    def wait(self, seconds: float) -> None:
        """Until it is time for the next question."""
        pause = self._options.poll_seconds * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load
        self._downloads.pause(min(seconds, pause))

    def stop(self) -> None:
        """Cut off a question that is under way."""
        self._downloads.stop()

    def _layer(self, layer: _Descriptor) -> bytes:
        if layer.size > self._options.max_bytes:
            message = f"the archive has {layer.size} bytes, at most {self._options.max_bytes} are fetched"
            raise refusal(self.where, message, "fetch")
        uri = f"{self._base}/blobs/{layer.digest}"
        answer = self._ask(uri, {"accept": "*/*"}, layer.size)
        for _ in range(_MAX_REDIRECTS):
            if answer.status not in _REDIRECTS:
                break
            uri = urljoin(uri, answer.headers.get("location", ""))
            # A storage with an address that is good for a while: no credentials, no certificate of ours.
            answer = self._downloads.get(uri, {"accept": "*/*"}, max_bytes=layer.size, as_us=False)
        if answer.status != httpx.codes.OK:
            raise refused(uri.partition("?")[0], answer)
        if len(answer.body) != layer.size or _digest(answer.body) != layer.digest:
            message = f"the archive is not `{layer.digest}`, which the registry's manifest names"
            raise refusal(self.where, message, "verify")
        return answer.body

    def _ask(self, uri: str, headers: dict[str, str], max_bytes: int, method: str = "GET") -> Answer:
        """With what the registry wants to see; a token that it no longer takes is replaced once."""
        answer = self._downloads.get(uri, headers | self._token.headers(), max_bytes=max_bytes, method=method)
        if answer.status == httpx.codes.UNAUTHORIZED and self._token.renew(answer):
            answer = self._downloads.get(uri, headers | self._token.headers(), max_bytes=max_bytes, method=method)
        return answer


def _read_manifest(text: bytes, where: str) -> _Descriptor:
    """The one layer that is a bundle. Raises BundleError at step `fetch`."""
    try:
        manifest = msgspec.json.decode(text, type=_Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        what = str(error).removeprefix("JSON is malformed: ")
        raise refusal(where, f"not the manifest of an artefact: {what[:1].lower()}{what[1:]}", "fetch") from None
    if manifest.media_type != MANIFEST_TYPE or manifest.schema_version != 2:  # noqa: PLR2004 - the only one there is
        what = f"the manifest is of type `{manifest.media_type}`: push an artefact with one layer"
        raise refusal(where, what, "fetch")
    found = [layer for layer in manifest.layers if layer.media_type == LAYER_TYPE]
    if len(found) != 1:
        what = f"the artefact has {len(found)} layers of type `{LAYER_TYPE}`: push it with exactly one"
        raise refusal(where, what, "fetch")
    return found[0]


def _is_loopback(registry: str) -> bool:
    host = registry.rpartition(":")[0] if ":" in registry.rpartition("]")[2] else registry
    return host in {"localhost", "127.0.0.1", "[::1]"}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
