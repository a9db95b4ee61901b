r"""What the journal keeps of a Check so that it can be decided again: the same values for who writes and who reads.

A value is written as one text:
`""` absent, `?` there in a form that is not kept, `!` there and readable by nobody (a query that parsers differ about),
`#` an integer that is not kept, `=<JSON>` in the clear, `~<hex>` a pseudonym of a text, `[~<hex> ~<hex>]` of a list of
texts. An address may add `@<low>-<high>`: the range it lies in, within which the bundle that decided tells no address
from another. A segment of the path is a literal of the bundle as it is, or `~<hex>`, with `|<hex>` of its case-folded
form where that differs.
Rule: what has a pseudonym is plain text: at most MAX_TEXT characters, printable, for a header without a comma.
"""

from typing import Final

from msgspec import Struct

ABSENT: Final = ""
OTHER: Final = "?"
UNREADABLE: Final = "!"
INTEGER: Final = "#"
CLEAR: Final = "="
PSEUDONYM: Final = "~"
RANGE: Final = "@"
PSEUDONYM_BYTES: Final = 12  # 96 bits: two of a billion values of a tenant and month are alike once in 10^11 journals
MAX_TEXT: Final = 512
# What the journal cuts anyway: host, tenant and client, and ids.
MAX_NAME: Final = 255
MAX_ID: Final = 128

HEADERS: Final = "request.headers"
QUERY: Final = "request.query"
CLAIMS: Final = "request.auth.claims"

# Attributes beside headers, query and claims that are kept only if a policy reads them.
ADDRESSES: Final = ("source.address", "remote.address", "destination.address")
OTHERS: Final = (
    *ADDRESSES,
    "connection.sni",
    "destination.port",
    "destination.principal",
    "request.port",
    "request.scheme",
    "source.port",
)


class KeptCaller(Struct, frozen=True, omit_defaults=True, gc=False):
    """A verified caller: what a Subject has that the record has not. Same fields as `Caller` in journal.proto."""

    kind: str = ""  # "token" or "service"
    name: str = ""  # of the Issuer document
    issuer: str = ""  # digest of that document, and of its keys where they are a file
    subject: str = ""
    tenant: str = ""
    scopes: tuple[str, ...] = ()
    acr: str = ""
    acrs: tuple[str, ...] = ()
    auth_time: int = 0
    issued_at: int = 0
    expires_at: int = 0
    session: str = ""
    actors: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()  # "x5t", "jkt", and "cnf" for anything else that the token is bound to
    claims: dict[str, str] = {}
    cut: bool = False  # something of it was too long, or is no plain text, and is left out


class KeptProfile(Struct, frozen=True, omit_defaults=True, gc=False):
    """What decided before policies did. Same fields as `Terms` in journal.proto."""

    blind: bool = False  # nobody is asked who calls
    identity: str = ""  # digest of who may call, and of the issuers that may vouch for them
    proofs: str = ""  # digest of what senders must prove
    formats: dict[str, str] = {}  # by header what FAPI rules ask of it, in the order in which they are checked
    # What was looked for; of a request that has it not, there is nothing below.
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()


class Kept(Struct, frozen=True, omit_defaults=True, gc=False):
    """Same fields as `Read` in journal.proto."""

    # "" a request, "connection" one without HTTP, "refused" a request that has no single reading, "other" not kept
    kind: str = ""
    profile: KeptProfile = KeptProfile()
    caller: KeptCaller = KeptCaller()
    path: str = ""  # segments, `/` between them
    host: str = ""  # where it differs from the record's
    forwarded: str = ""  # identity that the peer's proxy forwarded; "" with a hop: that of the peer itself
    hop: int = 0
    headers: dict[str, str] = {}  # by name, in lower case
    query: dict[str, str] = {}  # by name
    values: dict[str, str] = {}  # others, by attribute


def header_name(name: str) -> str:
    """The attribute of a request header."""
    return f"{HEADERS}[{name}]"


def query_name(name: str) -> str:
    """The attribute of a query parameter."""
    return f"{QUERY}[{name}]"


def claim_name(name: str) -> str:
    """The attribute of a top-level claim."""
    return f"{CLAIMS}[{name}]"
