"""The `messageSignature` and `signedBody` of a SecurityProfile: how requests are signed, and with whose keys."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from extauthz.bundle.data import parse_json
from extauthz.bundle.documents import Documents
from extauthz.bundle.finding import BundleError
from extauthz.guards.sender import READS
from extauthz.identity import (
    NOTHING_SIGNED,
    Audience,
    BodyRules,
    ClientKeyRules,
    ClientKeysSpec,
    JwksError,
    KeySet,
    MessageRules,
    MessageSignatureSpec,
    Origins,
    SignedBodySpec,
    SigningRules,
    compile_origins,
    parse_jwks,
)
from extauthz.identity.signature_rules import DEFAULT_BODY, DEFAULT_SIGNED_BODY, JWS_ALGORITHMS, MAX_AGE, SCHEMES
from extauthz.model.durations import parse_duration
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.problems import Location, Problem, suggestion

if TYPE_CHECKING:
    from extauthz.bundle.kinds import SecurityProfileSpec

_MESSAGE: Final[Location] = ("spec", "messageSignature")
_BODY: Final[Location] = ("spec", "signedBody")
_URL = "a URL such as `https://api.example.com/payments/**`"


class _Sources(Struct, frozen=True):
    """What the sections refer to."""

    files: Mapping[str, bytes]
    documents: Documents
    origins: Origins  # of `senderConstraint.dpop`
    hosts: tuple[str, ...]


def compile_signing(
    spec: "SecurityProfileSpec",
    documents: Documents,
    files: Mapping[str, bytes],
    origins: Origins,
    problems: list[Problem],
) -> SigningRules:
    """Check and compile both sections; `origins` are those that DPoP proofs are held against."""
    if spec.message_signature is None and spec.signed_body is None:
        return NOTHING_SIGNED
    sources = _Sources(files, documents, origins, spec.match.hosts)
    for at, section in ((_MESSAGE, spec.message_signature), (_BODY, spec.signed_body)):
        if section is not None and spec.authentication.mode == "none":
            problems.append(Problem(at, "mode `none` verifies nobody, so no client's keys could be looked up"))
    message, body = spec.message_signature, spec.signed_body
    return SigningRules(
        None if message is None else _compile_message(message, sources, problems),
        None if body is None else _compile_body(body, sources, problems),
    )


def _compile_message(spec: MessageSignatureSpec, sources: _Sources, problems: list[Problem]) -> MessageRules:
    _check_names(spec.algorithms, [*SCHEMES], problems, (*_MESSAGE, "algorithms"))
    usable = [jws for name in spec.algorithms if name in SCHEMES for jws in SCHEMES[name].jws]
    return MessageRules(
        required=spec.required,
        methods=frozenset(spec.methods),
        keys=_read_keys(spec.keys, tuple(usable), sources, problems, _MESSAGE),
        algorithms=spec.algorithms,
        max_age=_seconds(spec.max_age, problems, (*_MESSAGE, "maxAge")),
        tag=spec.tag,
        origins=_origins(spec.public_origin, sources, problems, _MESSAGE),
        max_body=_limit(spec.max_body_bytes, DEFAULT_BODY, problems, _MESSAGE),
    )


def _compile_body(spec: SignedBodySpec, sources: _Sources, problems: list[Problem]) -> BodyRules:
    _check_names(spec.algorithms, [*JWS_ALGORITHMS], problems, (*_BODY, "algorithms"))
    # Besides, a read may pass while nobody can say whether its proof was used (DP-18); a signed body never may.
    if not spec.methods or not READS.isdisjoint(spec.methods):
        message = "name the methods that have a signed body: `GET` and `HEAD` have none"
        problems.append(Problem((*_BODY, "methods"), message))
    audience = [_audience(text, problems, (*_BODY, "audience", index)) for index, text in enumerate(spec.audience)]
    organisations = _organisations(spec.organisations, sources.documents, problems)
    for client in spec.keys:
        if organisations is not None and client not in organisations:
            message = f"`{client}` is not in `{spec.organisations}`: without an organisation all its bodies are refused"
            problems.append(Problem((*_BODY, "keys", client), message))
    return BodyRules(
        media_type=spec.media_type,
        methods=frozenset(spec.methods),
        algorithms=frozenset(spec.algorithms),
        audience=tuple(found for found in audience if found is not None),
        organisations=organisations or {},
        keys=_read_keys(spec.keys, spec.algorithms, sources, problems, _BODY),
        max_age=_seconds(spec.max_age, problems, (*_BODY, "maxAge")),
        origins=_origins(spec.public_origin, sources, problems, _BODY),
        per_proxy=spec.once == "perProxy",
        max_body=_limit(spec.max_body_bytes, DEFAULT_SIGNED_BODY, problems, _BODY),
    )


def _check_names(names: tuple[str, ...], known: list[str], problems: list[Problem], at: Location) -> None:
    if not names:
        problems.append(Problem(at, "`algorithms` must name at least one"))
    for index, name in enumerate(names):
        if name not in known:
            problems.append(Problem((*at, index), f"unknown algorithm `{name}`{suggestion(name, known)}"))


def _read_keys(
    clients: Mapping[str, ClientKeysSpec],
    algorithms: tuple[str, ...],
    sources: _Sources,
    problems: list[Problem],
    section: Location,
) -> dict[str, KeySet]:
    """Key sets by client (SG-03); a client without a usable key is an error, for all its requests are refused."""
    if not clients:
        problems.append(Problem((*section, "keys"), "no client has keys, so every signature is refused: register them"))
    found: dict[str, KeySet] = {}
    for client, spec in clients.items():
        at: Location = (*section, "keys", client, "file")
        name = spec.file
        if name not in sources.files:
            known = [path for path in sources.files if path.endswith(".json")]
            problems.append(Problem(at, f"unknown file `{name}`{suggestion(name, known)}", code="unknown-name"))
            continue
        try:
            parse_json(sources.files[name], name)  # for its caps and its refusal of duplicate keys
            keys, left_out = parse_jwks(sources.files[name], ClientKeyRules(algorithms))
        except BundleError as error:
            problems += [Problem(at, str(finding)) for finding in error.findings]
            continue
        except JwksError as error:
            problems.append(Problem(at, f"`{name}`: {error}"))
            continue
        problems += [Problem(at, f"`{name}`: {why}", "warning", "unusable-key") for why in left_out]
        if not keys:
            problems.append(Problem(at, f"`{name}` has no key that may be used here"))
        if any(not key.id for key in keys.keys):
            problems.append(Problem(at, f"`{name}`: a key without `kid` is never found", "warning", "unusable-key"))
        found[client] = keys
    return found


def _organisations(reference: str, documents: Documents, problems: list[Problem]) -> Mapping[str, str] | None:
    """The organisation ids by client; None when they could not be read."""
    at: Location = (*_BODY, "organisations")
    name = reference.removeprefix("data.")
    if name in documents.broken_data:
        return None
    if name == reference or name not in documents.data:
        known = [f"data.{file}" for file in documents.data]
        message = f"unknown data file `{reference}`{suggestion(reference, known)}"
        problems.append(Problem(at, message, code="unknown-name"))
        return None
    value: Any = documents.data[name]
    if not isinstance(value, dict) or not all(isinstance(item, str) and item for item in value.values()):
        problems.append(Problem(at, f"`{reference}` must be a map from client id to organisation id, both texts"))
        return None
    return value


def _audience(text: str, problems: list[Problem], at: Location) -> Audience | None:
    origin, slash, path = text.partition("://")[2].partition("/")
    inner: list[Problem] = []
    found = compile_origins(f"{text.partition('://')[0]}://{origin}", ("*",), inner, at)
    pattern = parse_pattern(slash + path)
    if inner or not origin or not isinstance(pattern, PathPattern):
        problems.append(Problem(at, f"`{text}` must be {_URL}"))
        return None
    return Audience(found.by_host[0][1], pattern)


def _seconds(value: int | str, problems: list[Problem], at: Location) -> int:
    seconds = parse_duration(value)
    if seconds is None or not 1 <= seconds <= MAX_AGE:
        problems.append(Problem(at, f"`{value}` must be a duration from `1s` to `{MAX_AGE}s`"))
        return MAX_AGE
    return seconds


def _origins(spec: str | dict[str, str], sources: _Sources, problems: list[Problem], section: Location) -> Origins:
    at: Location = (*section, "publicOrigin")
    if spec:
        return compile_origins(spec, sources.hosts, problems, at)
    if "*" in sources.hosts and not sources.origins.by_host:
        message = "signatures name the URL that the client called: with `hosts` of `*`, write it here"
        problems.append(Problem(at, message))
    return sources.origins


def _limit(limit: int | None, otherwise: int, problems: list[Problem], section: Location) -> int:
    """Signatures need bodies, and Envoy sends none unless told so; whoever wrote the limit knows."""
    if limit is None:
        message = (
            "what Envoy does not send of a body cannot be verified: give its filter `with_request_body` (Istio: "
            "`includeRequestBodyInCheck`) with `maxRequestBytes: <n>`, `allowPartialMessage: false` and "
            "`packAsBytes: true`, and write the same `maxBodyBytes: <n>` here"
        )
        problems.append(Problem(section, message, "warning", "unknown-body-limit"))
    return limit or otherwise
