"""RequestAuthentication → Issuer documents, and what must be refused because no document says it.

Rule 1: a token that Istio verifies and we cannot is refused, never ignored: who sends it would be nobody, and a deny
rule about callers would miss it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from extauthz.identity.urls import is_fetchable
from extauthz.mesh.claims import ALWAYS_WORDS, Words
from extauthz.mesh.documents import Document, JwtRule, unknown_fields
from extauthz.mesh.report import Report
from extauthz.mesh.texts import quoted
from extauthz.model.problems import Location
from extauthz.policy.obligations import header_fault

# What Envoy's verifier knows and we do.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512", "EdDSA")
_HEADER: Final = "authorization"
_SCHEME: Final = "Bearer "
_NAME = re.compile(r"[^a-z0-9]+")
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_MAX_NAME: Final = 50


class Issuers(Struct, frozen=True, kw_only=True):
    """What the RequestAuthentications of a workload become."""

    any: bool = False  # whether there is a rule about tokens at all
    documents: tuple[tuple[str, dict[str, Any]], ...] = ()  # name and `spec`
    keys: tuple[tuple[str, bytes], ...] = ()  # files of keys, by path in the bundle
    refused: tuple[tuple[str, str], ...] = ()  # what is refused: a name and an expression for each
    removed_headers: tuple[str, ...] = ()  # on every allow
    upstream_headers: tuple[tuple[str, str], ...] = ()  # on every allow: name and expression
    words: Words = Words()


class _Rule(Struct, frozen=True):
    """One entry of `jwtRules`, and where it stands."""

    rule: JwtRule
    document: Document
    location: Location


class _Draft:
    """What is collected on the way."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.documents: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, bytes] = {}
        self.refused: dict[str, str] = {}
        self.carried: list[_Rule] = []
        self.by_iss: dict[str, str] = {}

    def lose(self, at: _Rule, field: str, message: str, instead: str) -> None:
        self.report.add(at.document, (*at.location, field), "lost", message, instead)

    def narrow(self, at: _Rule, field: str, message: str, instead: str) -> None:
        self.report.add(at.document, (*at.location, field), "narrower", message, instead)


def to_issuers(documents: Sequence[Document], audiences: Mapping[str, str], report: Report) -> Issuers:
    """Translate all `jwtRules` that apply to a workload. `audiences`: by issuer, for rules that name none."""
    rules = [
        _Rule(rule, document, ("jwtRules", at))
        for document in documents
        for at, rule in enumerate(document.spec.jwt_rules or [])
    ]
    draft = _Draft(report)
    for rule in rules:
        _refuse_other_places(rule, draft)
        if (spec := _spec(rule, audiences, draft)) is not None:
            _add(rule, spec, draft)
    if rules and not draft.documents:
        draft.refused["no-issuer"] = f"{quoted(_HEADER)} in request.headers"
    removed, upstream = _headers(rules, draft)
    used = {spec.get("jwks", {}).get("file") for spec in draft.documents.values()}
    return Issuers(
        any=bool(rules),
        documents=tuple(draft.documents.items()),
        keys=tuple((file, text) for file, text in draft.keys.items() if file in used),
        refused=tuple(draft.refused.items()),
        removed_headers=removed,
        upstream_headers=upstream,
        words=_words(draft.carried),
    )


def _refuse_other_places(at: _Rule, draft: _Draft) -> None:
    """Tokens anywhere but in `Authorization: Bearer`."""
    for number, header in enumerate(at.rule.from_headers or []):
        name = header.name.lower()
        if name == _HEADER and header.prefix in {_SCHEME, "Bearer"}:
            continue
        message = f"a token in the header `{header.name}` is not read: requests that send it are refused"
        instead = "send tokens as `Authorization: Bearer`"
        draft.report.add(at.document, (*at.location, "fromHeaders", number), "narrower", message, instead)
        if name == _HEADER:
            continue  # another scheme than Bearer is refused as it is
        draft.refused[f"header-{_plain(name)}"] = (
            f"{quoted(name)} in request.headers" if _TOKEN.fullmatch(name) else "true"
        )
    for number, name in enumerate(at.rule.from_params or []):
        message = f"a token in the query parameter `{name}` is not read: requests that send it are refused"
        instead = "send tokens as `Authorization: Bearer`: addresses end up in logs"
        draft.report.add(at.document, (*at.location, "fromParams", number), "narrower", message, instead)
        draft.refused[f"param-{_plain(name)}"] = f"{quoted(name)} in request.query"
    for number, name in enumerate(at.rule.from_cookies or []):
        message = f"a token in the cookie `{name}` is not read: requests that send it are refused"
        instead = "let a gateway put the token into `Authorization: Bearer`"
        draft.report.add(at.document, (*at.location, "fromCookies", number), "narrower", message, instead)
        test = f'"cookie" in request.headers && request.headers["cookie"].contains({quoted(name + "=")})'
        draft.refused[f"cookie-{_plain(name)}"] = test


def _spec(at: _Rule, audiences: Mapping[str, str], draft: _Draft) -> dict[str, Any] | None:
    """The `spec` of an Issuer; None when there is none that says the same, so that its tokens are refused."""
    rule = at.rule
    refused = "its tokens are refused"
    for name in unknown_fields(at.document.raw(at.location), JwtRule):
        draft.lose(at, name, f"`{name}` is not known to extauthz; {refused}", "write the Issuer by hand")
        return None
    if not rule.issuer:
        draft.lose(at, "issuer", f"a rule without an issuer takes tokens of anybody; {refused}", "name the issuer")
        return None
    if wrong := is_fetchable(rule.issuer):
        draft.lose(
            at,
            "issuer",
            f"`{rule.issuer}` {wrong}; {refused}",
            "let the issuer sign with a URL as `iss`, as OpenID Connect and RFC 8414 have it",
        )
        return None
    if rule.from_headers or rule.from_params or rule.from_cookies:
        found = [header for header in rule.from_headers or [] if header.name.lower() == _HEADER]
        if not any(header.prefix in {_SCHEME, "Bearer"} for header in found):
            return None  # it never reads `Authorization`: reported with its places
    named = [*(rule.audiences or []), *([audiences[rule.issuer]] if rule.issuer in audiences else [])]
    if not named:
        draft.lose(
            at,
            "audiences",
            f"no audiences: any token of the issuer would do; {refused}",
            f"say what this service is called in tokens: `--audience {rule.issuer}=NAME`",
        )
        return None
    keys = _keys(at, draft)
    if keys is None:
        return None
    return {
        "issuer": rule.issuer,
        "audiences": named,
        **({"jwks": keys} if keys else {}),
        "algorithms": list(ALGORITHMS),
        "types": ["absent", "JWT", "at+jwt"],
        "kind": {"claim": "iss"},
        "claims": {"client": ["azp", "client_id"], "roles": []},
        "requireClaims": ["sub"],
    }


def _keys(at: _Rule, draft: _Draft) -> dict[str, str] | None:
    """`jwks` of an Issuer, empty for discovery; None when the keys cannot be had."""
    rule = at.rule
    uri = rule.jwks_uri or rule.jwks_uri_old
    if rule.jwks:
        try:
            known = json.loads(rule.jwks)
        except ValueError:
            known = None
        if not isinstance(known, dict) or not isinstance(known.get("keys"), list):
            draft.lose(at, "jwks", "not a JSON Web Key Set; its tokens are refused", "write `jwks` as JSON")
            return None
        text = json.dumps(known, indent=2).encode() + b"\n"
        file = f"keys/{_issuer_name(rule.issuer, draft.by_iss)}.json"
        if draft.keys.setdefault(file, text) != text:
            file = f"{file.removesuffix('.json')}-{len(draft.keys)}.json"
            draft.keys[file] = text
        return {"file": file}
    if uri and (wrong := is_fetchable(uri)):
        draft.lose(at, "jwksUri", f"`{uri}` {wrong}; its tokens are refused", "serve the keys over TLS")
        return None
    return {"uri": uri} if uri else {}


def _add(at: _Rule, spec: dict[str, Any], draft: _Draft) -> None:
    """One Issuer for each `iss`; a second rule about it adds its audiences, if nothing else differs."""
    name = _issuer_name(at.rule.issuer, draft.by_iss)
    first = draft.documents.get(name)
    if first is None:
        draft.documents[name] = spec
        draft.carried.append(at)
        message = "like Istio, this Issuer does not tell access tokens from other tokens of the issuer"
        draft.report.add(
            at.document, (*at.location, "issuer"), "note", message, "name a `preset`, or what `kind` must be"
        )
        return
    if {**first, "audiences": ()} == {**spec, "audiences": ()}:
        first["audiences"] = [*dict.fromkeys([*first["audiences"], *spec["audiences"]])]
        draft.carried.append(at)
        return
    draft.narrow(
        at,
        "issuer",
        f"another rule has keys of its own for `{at.rule.issuer}`: tokens that only this one takes are refused",
        "leave one of the rules, or give each its own `iss`",
    )


def _headers(rules: Sequence[_Rule], draft: _Draft) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What an allow removes and sets: the token, and what Istio makes of claims."""
    removed: dict[str, None] = {}
    tests: dict[str, list[str]] = {}
    keeps = {bool(at.rule.forward_original_token) for at in rules}
    if rules and True not in keeps:
        removed[_HEADER] = None
    elif len(keeps) > 1:
        removed[_HEADER] = None
        for at in rules:
            if at.rule.forward_original_token:
                message = "upstreams do not get this token: another rule does not forward its own"
                draft.narrow(at, "forwardOriginalToken", message, "let all rules of the workload agree")
    for at in rules:
        rule = at.rule
        if rule.output_payload_to_header:
            removed[rule.output_payload_to_header.lower()] = None
            draft.lose(
                at,
                "outputPayloadToHeader",
                f"upstreams get no `{rule.output_payload_to_header}`; what a client sends under the name is removed",
                "read `x-auth-subject` and its like, or name single claims in `obligations.upstreamHeaders`",
            )
        for number, each in enumerate(rule.output_claim_to_headers or []):
            name = each.header.lower()
            if fault := header_fault("upstreamHeaders", name):
                location = (*at.location, "outputClaimToHeaders", number, "header")
                draft.report.add(at.document, location, "lost", fault, "give the header another name")
                continue
            tests.setdefault(name, []).append(_claim_value(each.claim, rule.issuer))
    for name in [name for name in removed if name in tests or header_fault("removeHeaders", name)]:
        del removed[name]
    return tuple(removed), tuple((name, " : ".join([*found, '""'])) for name, found in tests.items())


def _claim_value(claim: str, issuer: str) -> str:
    """The beginning of a CEL expression: the claim of that issuer's tokens if it is text, number or truth value."""
    place = "subject.claims"
    guards = [f"subject.issuer == {quoted(issuer)}"]
    for at, name in enumerate(claim.split(".")):
        if at:
            guards.append(f"type({place}) == map")
        guards.append(f"{quoted(name)} in {place}")
        place = f"{place}[{quoted(name)}]"
    guards.append(f"type({place}) in [string, int, bool]")
    return f"{' && '.join(guards)} ? {place}"


def _words(carried: Sequence[_Rule]) -> Words:
    by_claim: dict[str, set[str]] = {}
    for at in carried:
        for claim in at.rule.space_delimited_claims or []:
            by_claim.setdefault(claim, set()).add(at.rule.issuer)
    issuers = {at.rule.issuer for at in carried}
    everywhere = {claim for claim, found in by_claim.items() if found == issuers}
    return Words(
        frozenset({*ALWAYS_WORDS, *everywhere}),
        tuple((claim, frozenset(found)) for claim, found in sorted(by_claim.items()) if claim not in everywhere),
    )


def _issuer_name(iss: str, by_iss: dict[str, str]) -> str:
    """A name for the Issuer document: what tells issuers apart for a reader."""
    if iss not in by_iss:
        short = _plain(iss.partition("://")[2])[:_MAX_NAME].strip("-") or "issuer"
        name, number = short, 2
        while name in by_iss.values():
            name, number = f"{short}-{number}", number + 1
        by_iss[iss] = name
    return by_iss[iss]


def _plain(text: str) -> str:
    return _NAME.sub("-", text.lower()).strip("-")
