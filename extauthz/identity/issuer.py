"""Issuer documents, compiled: what verification reads."""

from collections.abc import Mapping
from hashlib import sha256

from msgspec import Struct, json, structs

from extauthz.identity.algorithms import ALGORITHMS
from extauthz.identity.claim_paths import ClaimPath, compile_path, compile_paths
from extauthz.identity.compact import canonical_type
from extauthz.identity.document import ClaimsSpec, IssuerSpec, JwksSpec
from extauthz.identity.introspection import Introspection, compile_introspection
from extauthz.identity.presets import PRESETS, STANDARD_CLAIMS, Preset
from extauthz.identity.spellings import TEMPLATE, Spelling, compile_spellings
from extauthz.identity.urls import is_fetchable
from extauthz.model.durations import parse_duration
from extauthz.model.problems import Problem, suggestion

# JWT-14: FAPI 2.0 section 5.4 asks for 2048 bits or more. A check takes 21 us with 2048 bits and 210 us with 8192
# (measured), so a longer key would let one forged token hold up everybody.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
MAX_LEEWAY = 60  # seconds; RFC 9068 section 4 allows "a few minutes", FAPI 2.0 section 5.3.2.1 no more than 60 s
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
    acrs: ClaimPath
    auth_time: ClaimPath
    token_id: tuple[ClaimPath, ...]
    session: tuple[ClaimPath, ...]


class Issuer(Struct, frozen=True):
    """Who may vouch for a subject, and how its access tokens look."""

    name: str  # metadata.name
    issuer: str  # the exact `iss`, or a template
    spellings: Mapping[str, Spelling]  # by `iss`: all that are accepted
    jwks_uri: str  # "" when the keys come from a file or by discovery
    jwks_file: str  # "", or relative to the bundle
    discovery: bool
    metadata_uri: str  # where discovery asks
    audiences: tuple[str, ...]
    audience_path: ClaimPath
    algorithms: tuple[str, ...]
    min_rsa_bits: int
    types: tuple[str, ...]  # canonical; "" stands for a header without `typ`
    kind: Kind | None
    claims: ClaimMap
    required: tuple[ClaimPath, ...]
    leeway: int  # seconds
    max_lifetime: int  # seconds
    introspection: Introspection | None = None
    digest: bytes = b""  # of everything above: keys and cached tokens of another document never match

    @property
    def has_keys(self) -> bool:
        """Whether anything of this issuer is verified with keys; otherwise all is asked over TLS."""
        return self.introspection is None or not self.introspection.only or self.introspection.signed

    @property
    def has_remote_keys(self) -> bool:
        """Whether its keys are fetched from the network."""
        return self.has_keys and not self.jwks_file


def compile_issuer(name: str, spec: IssuerSpec, problems: list[Problem]) -> Issuer | None:
    """Check the `spec` of an Issuer document; None when it has an error."""
    found: list[Problem] = []
    preset = PRESETS.get(spec.preset)
    if preset is None:
        text = f"unknown preset `{spec.preset}`{suggestion(spec.preset, [*PRESETS])}"
        found.append(Problem(("spec", "preset"), text))
    spellings = compile_spellings(spec, preset, found)
    preset = preset or PRESETS["rfc9068"]
    jwks = spec.jwks or JwksSpec()
    audiences = _audiences(spec, found)
    audience_path = compile_path(spec.audience_claim or preset.audience_claim, found, ("spec", "audienceClaim"))
    introspection = None
    if spec.introspection is not None:
        introspection = compile_introspection(spec.introspection, audiences, audience_path, found)
    _check_jwks(jwks, discovery=spec.jwks is None, issuer=spec.issuer, problems=found)
    issuer = Issuer(
        name=name,
        issuer=spec.issuer,
        spellings=spellings,
        jwks_uri=jwks.uri,
        jwks_file=jwks.file,
        discovery=spec.jwks is None or bool(jwks.metadata),
        metadata_uri=jwks.metadata or _metadata_uri(spec.issuer),
        audiences=audiences,
        audience_path=audience_path,
        algorithms=_algorithms(spec, preset, found),
        min_rsa_bits=_min_rsa_bits(spec, found),
        types=_types(spec, preset, found),
        kind=_kind(spec, preset, found),
        claims=_claims(spec.claims, preset, found),
        required=_required(spec, preset, found),
        leeway=_seconds(spec.leeway, "leeway", found),
        max_lifetime=_seconds(spec.max_lifetime, "maxLifetime", found),
        introspection=introspection,
    )
    _check_together(issuer, found)
    if spec.jwks is not None and not issuer.has_keys:
        text = "no key of this issuer is ever used: leave `jwks` out, or `introspection.only`, or set `signedResponses`"
        found.append(Problem(("spec", "jwks"), text))
    if introspection is not None and TEMPLATE in issuer.issuer:
        text = f"answers need not name their issuer, so `{TEMPLATE}` says nothing: write an Issuer for each tenant"
        found.append(Problem(("spec", "introspection"), text))
    problems += found
    if any(problem.severity == "error" for problem in found):
        return None
    return structs.replace(issuer, digest=sha256(json.encode(issuer)).digest())


def _metadata_uri(issuer: str) -> str:
    """OpenID Connect Discovery section 4; all tenants of a template share what `common` publishes."""
    return issuer.replace(TEMPLATE, "common").removesuffix("/") + "/.well-known/openid-configuration"


def _check_jwks(jwks: JwksSpec, *, discovery: bool, issuer: str, problems: list[Problem]) -> None:
    if discovery:
        return
    if sum(map(bool, (jwks.uri, jwks.file, jwks.metadata))) != 1:
        text = f"`jwks` needs one of `uri`, `file`, `metadata`; leave `jwks` out to discover the keys of `{issuer}`"
        problems.append(Problem(("spec", "jwks"), text))
    for field, address in (("uri", jwks.uri), ("metadata", jwks.metadata)):
        if address and (wrong := is_fetchable(address)):
            problems.append(Problem(("spec", "jwks", field), f"`{address}` {wrong}"))
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


def _min_rsa_bits(spec: IssuerSpec, problems: list[Problem]) -> int:
    if not MIN_RSA_BITS <= spec.min_rsa_bits <= MAX_RSA_BITS:
        text = f"`{spec.min_rsa_bits}` must be {MIN_RSA_BITS} to {MAX_RSA_BITS} (JWT-14)"
        problems.append(Problem(("spec", "minRsaBits"), text))
    return spec.min_rsa_bits


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
        acrs=one("acrs", "acrs"),
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
    seconds = parse_duration(value)
    if seconds is not None:
        return seconds
    problems.append(Problem(("spec", field), f"`{value}` must be a duration such as `30s`, `5m` or `24h`"))
    return 0


def _check_together(issuer: Issuer, problems: list[Problem]) -> None:
    """What no field shows alone."""
    if TEMPLATE in issuer.issuer and not issuer.claims.tenant:
        text = f"`{TEMPLATE}` needs `claims.tenant`: a token must name the tenant of its `iss`"
        problems.append(Problem(("spec", "claims", "tenant"), text))
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
