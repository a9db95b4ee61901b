"""`when`: attributes by key."""

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal

from extauthz.mesh.claims import Words, claim, claim_names
from extauthz.mesh.identities import address_block, audience, namespace, remote_block, request_principal
from extauthz.mesh.texts import Text, matches, quoted, read_match
from extauthz.mesh.values import Value
from extauthz.policy.matchers import text_problem
from extauthz.policy.readers import LISTED_HEADERS

Sign = Literal["values", "notValues"]
ADDRESSES: Final = ("source.ip", "remote.ip", "destination.ip")
_HEADER = re.compile(r"request\.headers\[([^\[\]]+)\]")
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_PRESENTER: Final = "azp"
_MAX_PORT: Final = 65535


def our_key(key: str) -> str:
    """The key of our `when` for one of Istio's."""
    if key == "request.auth.presenter":
        return f"request.auth.claims[{_PRESENTER}]"  # our `presenter` is what the Issuer document calls the client
    found = _HEADER.fullmatch(key)
    return f"request.headers[{found[1].lower()}]" if found else key


def translator(
    key: str, words: Words, issuers: Sequence[str], *, denies: bool, sign: Sign
) -> Callable[[str], Value] | None:
    """How values of a key are read; None for a key that nothing here answers."""
    strict = denies == (sign == "notValues")  # what it misses would let a request pass
    if key == "remote.ip":
        return remote_block
    if key in ADDRESSES:
        return address_block
    if key == "destination.port":
        return port
    if key == "connection.sni":
        return lambda value: _sni(value, strict=strict)
    if key == "source.namespace":
        return namespace
    if key == "request.auth.principal":
        return lambda value: request_principal(value, issuers, strict=strict)
    if key == "request.auth.audiences":
        return audience
    if names := [_PRESENTER] if key == "request.auth.presenter" else claim_names(key):
        return lambda value: claim(names, value, words)
    if found := _HEADER.fullmatch(key):
        name = found[1].lower()
        return lambda value: _header(name, value, denies=denies, sign=sign)
    return None


def port(value: str) -> Value:
    """What a value of `ports` becomes."""
    if not value.isascii() or not value.isdigit() or int(value) > _MAX_PORT:
        return Value(lost="no port", instead="write a number between 1 and 65535")
    number = int(value)
    return Value(native=str(number), is_exact=True) if number else Value(never="no connection has the port 0")


def _sni(value: str, *, strict: bool) -> Value:
    if not strict:
        test = matches("connection.sni", [read_match(value)])
        return Value(
            cel=f'connection.sni == "" || {test}',
            narrower="a connection whose server name is not known counts as one that this means",
            instead='let Envoy send it (`include_tls_session`), then take `connection.sni == ""` out of the condition',
        )
    native = "" if text_problem(value) else value
    return Value(native=native, is_exact=bool(native), attribute=Text("connection.sni"), match=read_match(value))


def _header(name: str, value: str, *, denies: bool, sign: Sign) -> Value:
    if not _TOKEN.fullmatch(name):
        instead = "compare `methods`, `paths` or `hosts`" if name.startswith(":") else "name the header"
        return Value(lost=f"`{name}` is no header that conditions can read", instead=instead)
    match = read_match(value)
    if match.kind == "present" and denies == (sign == "values"):
        # Istio documents that an empty header is not there; its proxy says that it is. Whoever refuses believes both.
        return Value(cel=f"{quoted(name)} in request.headers")
    attribute = Text(f"request.headers[{quoted(name)}]", guard=f"{quoted(name)} in request.headers")
    if name in LISTED_HEADERS:  # with a comma it may be one value all the same: ours would not look at it
        return Value(attribute=attribute, match=match)
    if "," in value and not denies:
        return Value(
            lost="a header with a comma in it never matches an allow rule",
            instead="send each value in a header of its own",
        )
    native = "" if text_problem(value) else value
    return Value(native=native, is_exact=bool(native), attribute=attribute, match=match)
