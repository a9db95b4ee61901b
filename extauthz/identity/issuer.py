"""Issuer documents, compiled: what verification reads."""

import re
from hashlib import sha256

from msgspec import Struct, json, structs

from extauthz.identity.algorithms import ALGORITHMS
from extauthz.identity.claim_paths import ClaimPath, compile_path, compile_paths
from extauthz.identity.compact import canonical_type
from extauthz.identity.document import ClaimsSpec, IssuerSpec, JwksSpec
from extauthz.identity.presets import PRESETS, STANDARD_CLAIMS, Preset
from extauthz.identity.urls import is_fetchable
from extauthz.model.problems import Problem, suggestion

MAX_LEEWAY = 60  # seconds; RFC 9068 section 4 allows "a few minutes", FAPI 2.0 section 5.3.2.1 no more than 60 s
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ABSENT = "absent"


class Kind(Struct, frozen=True):
    """What tells an access token of this issuer from its other tokens."""

    paths: tuple[ClaimPath, ...]
    any_of: tuple[str, ...] = ()
    prefix: str = ""


class ClaimMap(Struct, frozen=True):
    """Where facts are found in the claims; an empty path is nowhere."""

    subject: tuple[ClaimPath, ...]
    client: tuple[ClaimPath, ...]
    tenant: ClaimPath
    tenant_optional: bool
    roles: tuple[ClaimPath, ...]
    scopes: ClaimPath
    acr: ClaimPath
    auth_time: ClaimPath
    token_id: tuple[ClaimPath, ...]
    session: tuple[ClaimPath, ...]


class Issuer(Struct, frozen=True):
    """Who may vouch for a subject, and how its access tokens look."""

    name: str  # metadata.name
    issuer: str  # the exact `iss`
    jwks_uri: str  # "" when the keys come from a file or by discovery
    jwks_file: str  # "", or relative to the bundle
    discovery: bool
    audiences: tuple[str, ...]
    audience_path: ClaimPath
    algorithms: tuple[str, ...]
    types: tuple[str, ...]  # canonical; "" stands for a header without `typ`
    kind: Kind | None
    claims: ClaimMap
    required: tuple[ClaimPath, ...]
    leeway: int  # seconds
    max_lifetime: int  # seconds
    digest: bytes = b""  # of everything above: keys and cached tokens of another document never match


def compile_issuer(name: str, spec: IssuerSpec, problems: list[Problem]) -> Issuer | None:
    """Check the `spec` of an Issuer document; None when it has an error."""
    found: list[Problem] = []
    preset = PRESETS.get(spec.preset)
    if preset is None:
        text = f"unknown preset `{spec.preset}`{suggestion(spec.preset, [*PRESETS])}"
        found.append(Problem(("spec", "preset"), text))
        preset = PRESETS["rfc9068"]
    else:
        _check_issuer(spec.issuer, preset, found)
    jwks = spec.jwks or JwksSpec()
    _check_jwks(jwks, discovery=spec.jwks is None, issuer=spec.issuer, problems=found)
    issuer = Issuer(
        name=name,
        issuer=spec.issuer,
        jwks_uri=jwks.uri,
        jwks_file=jwks.file,
        discovery=spec.jwks is None,
        audiences=_audiences(spec, found),
        audience_path=compile_path(spec.audience_claim or preset.audience_claim, found, ("spec", "audienceClaim")),
        algorithms=_algorithms(spec, preset, found),
        types=_types(spec, preset, found),
        kind=_kind(spec, preset, found),
        claims=_claims(spec.claims, preset, found),
        required=_required(spec, preset, found),
        leeway=_seconds(spec.leeway, "leeway", found),
        max_lifetime=_seconds(spec.max_lifetime, "maxLifetime", found),
    )
    _check_together(issuer, found)
    problems += found
    if any(problem.severity == "error" for problem in found):
        return None
    return structs.replace(issuer, digest=sha256(json.encode(issuer)).digest())


def _check_issuer(issuer: str, preset: Preset, problems: list[Problem]) -> None:
    where = ("spec", "issuer")
    if wrong := is_fetchable(issuer):
        problems.append(Problem(where, f"`{issuer}` {wrong}"))
    elif "?" in issuer or "#" in issuer:
        problems.append(Problem(where, f"`{issuer}` must not have a query or fragment (RFC 8414 section 2)"))
    elif not re.fullmatch(preset.issuer_pattern, issuer):
        problems.append(Problem(where, f"`{issuer}` looks unusual: an issuer here {preset.issuer_hint}", "warning"))


def _check_jwks(jwks: JwksSpec, *, discovery: bool, issuer: str, problems: list[Problem]) -> None:
    if discovery:
        return
    if bool(jwks.uri) == bool(jwks.file):
        text = f"`jwks` needs either `uri` or `file`; leave `jwks` out to discover the keys of `{issuer}`"
        problems.append(Problem(("spec", "jwks"), text))
    if jwks.uri and (wrong := is_fetchable(jwks.uri)):
        problems.append(Problem(("spec", "jwks", "uri"), f"`{jwks.uri}` {wrong}"))
    if jwks.file and (jwks.file.startswith("/") or ".." in jwks.file.split("/") or "\\" in jwks.file):
        text = f"`{jwks.file}` must be relative to the bundle and stay within it"
        problems.append(Problem(("spec", "jwks", "file"), text))


def _audiences(spec: IssuerSpec, problems: list[Problem]) -> tuple[str, ...]:
    if not spec.audiences or not all(spec.audiences):
        text = "`audiences` must name what this service is called in tokens, or any token of the issuer would do"
        problems.append(Problem(("spec", "audiences"), text))
    return tuple(spec.audiences)


def _algorithms(spec: IssuerSpec, preset: Preset, problems: list[Problem]) -> tuple[str, ...]:
    chosen = preset.algorithms if spec.algorithms is None else tuple(spec.algorithms)
    if not chosen:
        problems.append(Problem(("spec", "algorithms"), "`algorithms` must name at least one"))
    for index, name in enumerate(chosen):
        if name in ALGORITHMS:
            continue
        if name.lower() == "none":
            text = "`none` is no signature: anybody could write such a token"
        elif name.upper().startswith("HS"):
            text = f"`{name}` is symmetric: whoever verifies could also sign; use `PS256` or `ES256`"
        else:
            text = f"unknown algorithm `{name}`{suggestion(name, [*ALGORITHMS])}"
        problems.append(Problem(("spec", "algorithms", index), text))
    return chosen


def _types(spec: IssuerSpec, preset: Preset, problems: list[Problem]) -> tuple[str, ...]:
    chosen = preset.types if spec.types is None else tuple(spec.types)
    if not chosen or not all(chosen):
        text = "`types` must name at least one `typ`; `absent` stands for a header without"
        problems.append(Problem(("spec", "types"), text))
    return tuple("" if text == _ABSENT else canonical_type(text) for text in chosen)


def _kind(spec: IssuerSpec, preset: Preset, problems: list[Problem]) -> Kind | None:
    kind = spec.kind or preset.kind
    if kind is None:
        return None
    where = ("spec", "kind")
    if kind.any_of is not None and kind.prefix is not None:
        problems.append(Problem(where, "`kind` takes `anyOf` or `prefix`, not both"))
    if kind.any_of == [] or kind.prefix == "":
        problems.append(Problem(where, "`kind` would accept nothing or everything: give a value"))
    paths = compile_paths(kind.claim, problems, (*where, "claim"))
    if not paths:
        problems.append(Problem((*where, "claim"), "`kind` needs a claim"))
    return Kind(paths, tuple(kind.any_of or ()), kind.prefix or "")


def _claims(spec: ClaimsSpec, preset: Preset, problems: list[Problem]) -> ClaimMap:
    def pick(field: str) -> object:
        layers = (spec, preset.claims, STANDARD_CLAIMS)
        return next(value for layer in layers if (value := getattr(layer, field)) is not None)

    def one(field: str, name: str) -> ClaimPath:
        return compile_path(pick(field), problems, ("spec", "claims", name))  # type: ignore[arg-type] # by field

    def several(field: str, name: str) -> tuple[ClaimPath, ...]:
        return compile_paths(pick(field), problems, ("spec", "claims", name))  # type: ignore[arg-type] # by field

    optional = spec.tenant_optional
    if optional is None:  # what a preset knows about its own tenant claim says nothing about another one
        optional = spec.tenant is None and bool(pick("tenant_optional"))
    claims = ClaimMap(
        subject=several("subject", "subject"),
        client=several("client", "client"),
        tenant=one("tenant", "tenant"),
        tenant_optional=optional,
        roles=several("roles", "roles"),
        scopes=one("scopes", "scopes"),
        acr=one("acr", "acr"),
        auth_time=one("auth_time", "authTime"),
        token_id=several("token_id", "tokenId"),
        session=several("session", "session"),
    )
    if not claims.subject:
        problems.append(Problem(("spec", "claims", "subject"), "`subject` must name a claim: a caller needs an id"))
    return claims


def _required(spec: IssuerSpec, preset: Preset, problems: list[Problem]) -> tuple[ClaimPath, ...]:
    chosen = [*preset.require_claims] if spec.require_claims is None else spec.require_claims
    return compile_paths(chosen, problems, ("spec", "requireClaims"))  # type: ignore[arg-type] # a list of texts is one


def _seconds(value: int | str, field: str, problems: list[Problem]) -> int:
    """`300s`, `5m`, `24h`, `1d` or a number of seconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _SECONDS[match[2]]
    if isinstance(value, int) and value >= 0:
        return value
    problems.append(Problem(("spec", field), f"`{value}` must be a duration such as `30s`, `5m` or `24h`"))
    return 0


def _check_together(issuer: Issuer, problems: list[Problem]) -> None:
    """What no field shows alone."""
    if issuer.leeway > MAX_LEEWAY:
        text = f"`{issuer.leeway}s` must be at most `{MAX_LEEWAY}s`: an expired token must not live on"
        problems.append(Problem(("spec", "leeway"), text))
    if issuer.max_lifetime == 0:
        problems.append(Problem(("spec", "maxLifetime"), "`maxLifetime` must be longer than nothing"))
    if issuer.kind is None and any(text != "at+jwt" for text in issuer.types):
        text = "types other than `at+jwt` are also those of ID tokens: `kind` must name a claim that tells them apart"
        problems.append(Problem(("spec", "kind"), text))
    if not issuer.audience_path:
        text = "`audienceClaim` must name a claim, `aud` or what this issuer uses instead"
        problems.append(Problem(("spec", "audienceClaim"), text))
