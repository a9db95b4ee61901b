"""`introspection` of an Issuer document: tokens that only the issuer can read (RFC 7662).

Rule 1: no secret is in a bundle: who we are to the issuer is in the server config, under the issuer's name.
"""

from typing import Annotated

from msgspec import Meta, Struct

from extauthz.identity.claim_paths import ClaimPath, PathsSpec, compile_paths
from extauthz.identity.urls import is_fetchable
from extauthz.model.problems import Location, Problem


class IntrospectionSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Opaque tokens of profiles that name this issuer are shown to it. A profile can have one such issuer (INT-01)."""

    endpoint: str  # https, or http on loopback
    signed_responses: bool = False  # RFC 9701: answers must be signed with the issuer's keys (INT-07)
    response_audiences: list[str] = []  # what signed answers call us; the issuer's `audiences` when empty
    jwt: bool = False  # also ask about tokens that were verified with keys: a revoked one ends with the cache
    only: bool = False  # whatever form its tokens have, they are shown to it; without `signedResponses` it has no keys
    cache_seconds: Annotated[int, Meta(ge=0, le=3600)] = 30  # how long a revoked token may still pass (INT-05)
    negative_cache_seconds: Annotated[int, Meta(ge=0, le=300)] = 5  # how long a refused token is not asked about again
    timeout_seconds: Annotated[float, Meta(gt=0, le=30)] = 1.0  # of one question; Envoy's own timeout if that is less
    require_claims: PathsSpec | None = None  # what an answer must have beside `exp`; the audience when left out


class Introspection(Struct, frozen=True):
    """The same, compiled."""

    endpoint: str
    signed: bool
    audiences: tuple[str, ...]  # of signed answers
    jwt: bool
    only: bool
    cache_seconds: int
    negative_seconds: int
    timeout_seconds: float
    required: tuple[ClaimPath, ...]


def compile_introspection(
    spec: IntrospectionSpec, audiences: tuple[str, ...], audience_path: ClaimPath, problems: list[Problem]
) -> Introspection:
    """Check the section; `audiences` and `audience_path` are the issuer's."""
    where: Location = ("spec", "introspection")
    if wrong := is_fetchable(spec.endpoint):
        problems.append(Problem((*where, "endpoint"), f"`{spec.endpoint}` {wrong}"))
    if spec.jwt and spec.only:
        problems.append(Problem((*where, "jwt"), "with `only` every token is asked about: leave `jwt` out"))
    if spec.response_audiences and not spec.signed_responses:
        message = "only signed answers name an audience: set `signedResponses`, or leave this out"
        problems.append(Problem((*where, "responseAudiences"), message))
    required: tuple[ClaimPath, ...] = (audience_path,)
    if spec.require_claims is not None:
        required = compile_paths(spec.require_claims, problems, (*where, "requireClaims"))
    return Introspection(
        endpoint=spec.endpoint,
        signed=spec.signed_responses,
        audiences=tuple(spec.response_audiences) or audiences,
        jwt=spec.jwt,
        only=spec.only,
        cache_seconds=spec.cache_seconds,
        negative_seconds=spec.negative_cache_seconds,
        timeout_seconds=spec.timeout_seconds,
        required=required,
    )
