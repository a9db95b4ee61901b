"""What names an artefact in a registry: `registry/repository:tag`, `…@sha256:…` or both."""

import re
from typing import Final

from msgspec import Struct

# The grammar of the OCI Distribution Specification 1.1, section "Pulling manifests"; hosts as in RFC 3986 with a port.
_REFERENCE: Final = re.compile(
    r"(?P<registry>(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?)"
    r"/(?P<repository>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MAX_LENGTH: Final = 1024


class Reference(Struct, frozen=True):
    """The parts of a name."""

    registry: str  # host, or host:port
    repository: str
    tag: str  # "" when there is only a digest
    digest: str  # `sha256:…`; "" when the tag may move

    @property
    def wanted(self) -> str:
        """What to ask the registry for: where a digest is given, only that will do."""
        return self.digest or self.tag


def parse_reference(text: str) -> Reference | None:
    """The parts, or None when it names no artefact, or names none exactly: a tag or a digest is needed."""
    found = _REFERENCE.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if found is None or not (found["tag"] or found["digest"]):
        return None
    return Reference(found["registry"], found["repository"], found["tag"] or "", found["digest"] or "")
