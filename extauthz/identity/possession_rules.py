"""How proofs of possession are checked: the sections `dpop` and `mtls` of a profile's `senderConstraint`.

Rule 1: what a token is bound to is verified under every profile, also under one without the section.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from extauthz.identity.algorithms import ALGORITHMS
from extauthz.identity.htu import Origins, compile_origins
from extauthz.model.durations import parse_duration
from extauthz.model.problems import Location, Problem, suggestion

MAX_AGE: Final = 300  # seconds; every second of it is a second in which a stolen proof works elsewhere
MAX_SKEW: Final = 60  # seconds; FAPI 2.0 section 5.3.2.1 wants proofs from further ahead refused
MIN_NONCE, MAX_NONCE = 10, 900  # seconds; a proof with a nonce is remembered for twice as long


class WhenStoreUnavailableSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What becomes of a request whose proof may have been used before, for the replay store does not answer."""

    reads: Literal["deny", "allow"] = "deny"  # GET and HEAD
    writes: Literal["deny"] = "deny"  # every other method: 503, whatever the configuration


class DpopSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How DPoP proofs are checked (RFC 9449). Durations: `60s`, `5m` or seconds."""

    algorithms: tuple[str, ...] = ("ES256", "PS256", "EdDSA")  # of proofs
    max_age: int | str = 60  # since `iat`; at most 300 s
    skew: int | str = 10  # how far clocks may be apart; at most 60 s
    # off: a nonce is not looked at. optional: it may stand in for a clock that is right. required: no proof without.
    nonce: Literal["off", "optional", "required"] = "off"
    nonce_lifetime: int | str = 120  # a nonce is accepted for at least this long; 10 s to 900 s
    # What clients call this service: a URL, or URLs by host pattern. `https://` and the host when absent.
    public_origin: str | dict[str, str] = ""
    # Where a proof is good once. perProxy: at each identity of an asking Envoy, for a gateway and a sidecar that both
    # ask about the same request.
    once: Literal["everywhere", "perProxy"] = "everywhere"
    when_store_unavailable: WhenStoreUnavailableSpec = WhenStoreUnavailableSpec()
    proof_max_bytes: Annotated[int, Meta(ge=512, le=8192)] = 4096  # one with an RSA key of 4096 bits has 2 KiB


class MtlsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Whose certificate a token is bound to (RFC 8705)."""

    # peer: of the connection to the Envoy that asks, as at a gateway. forwarded: of the client in front of a gateway.
    certificate: Literal["peer", "forwarded"] = "peer"
    gateways: tuple[str, ...] = ()  # forwarded: SPIFFE ids of the peers that may say what certificate they saw


class DpopRules(Struct, frozen=True):
    """The compiled `dpop`. Times are whole seconds."""

    algorithms: frozenset[str]
    max_age: int
    skew: int
    nonce: str
    nonce_lifetime: int
    origins: Origins
    per_proxy: bool
    max_bytes: int


class MtlsRules(Struct, frozen=True):
    """The compiled `mtls`; without gateways the certificate is the peer's."""

    gateways: frozenset[str] = frozenset()


class PossessionRules(Struct, frozen=True):
    """How whoever presents a bound token must prove to be the one it was given to."""

    dpop: DpopRules
    mtls: MtlsRules


def compile_possession(
    dpop: DpopSpec, mtls: MtlsSpec, hosts: tuple[str, ...], problems: list[Problem], location: Location
) -> PossessionRules:
    """Check and compile both sections; `hosts` are the host patterns of the profile."""
    at: Location = (*location, "dpop")
    _check_algorithms(dpop.algorithms, problems, (*at, "algorithms"))
    return PossessionRules(
        DpopRules(
            algorithms=frozenset(dpop.algorithms),
            max_age=_seconds(dpop.max_age, (1, MAX_AGE), problems, (*at, "maxAge")),
            skew=_seconds(dpop.skew, (0, MAX_SKEW), problems, (*at, "skew")),
            nonce=dpop.nonce,
            nonce_lifetime=_seconds(dpop.nonce_lifetime, (MIN_NONCE, MAX_NONCE), problems, (*at, "nonceLifetime")),
            origins=compile_origins(dpop.public_origin, hosts, problems, (*at, "publicOrigin")),
            per_proxy=dpop.once == "perProxy",
            max_bytes=dpop.proof_max_bytes,
        ),
        _compile_mtls(mtls, problems, (*location, "mtls")),
    )


def _check_algorithms(names: tuple[str, ...], problems: list[Problem], location: Location) -> None:
    if not names:
        problems.append(Problem(location, "`algorithms` must name at least one"))
    for index, name in enumerate(names):
        where = (*location, index)
        if name not in ALGORITHMS:
            problems.append(Problem(where, f"unknown algorithm `{name}`{suggestion(name, [*ALGORITHMS])}"))
        elif name.startswith("RS"):
            message = f"`{name}` is outside of FAPI (FAPI 2.0 section 5.4): clients can sign proofs with `PS256`"
            problems.append(Problem(where, message, "warning", "outside-fapi"))


def _seconds(value: int | str, limits: tuple[int, int], problems: list[Problem], location: Location) -> int:
    seconds = parse_duration(value)
    if seconds is None or not limits[0] <= seconds <= limits[1]:
        message = f"`{value}` must be a duration from `{limits[0]}s` to `{limits[1]}s`"
        problems.append(Problem(location, message))
        return limits[1]
    return seconds


def _compile_mtls(spec: MtlsSpec, problems: list[Problem], location: Location) -> MtlsRules:
    at = (*location, "gateways")
    if spec.certificate == "forwarded" and not spec.gateways:
        message = "`certificate: forwarded` needs `gateways`: anybody else could claim to have seen a certificate"
        problems.append(Problem(at, message))
    if spec.certificate == "peer" and spec.gateways:
        problems.append(Problem(at, "`gateways` goes with `certificate: forwarded`: here the peer is the client"))
    for index, name in enumerate(spec.gateways):
        if not name.startswith("spiffe://") or "*" in name:
            message = f"`{name}` must be a whole SPIFFE id such as `spiffe://cluster.local/ns/istio-system/sa/gateway`"
            problems.append(Problem((*at, index), message))
    return MtlsRules(frozenset(spec.gateways))


def default_rules(hosts: tuple[str, ...]) -> PossessionRules:
    """The rules of a profile that says nothing about its senders."""
    return compile_possession(DpopSpec(), MtlsSpec(), hosts, [], ())
