"""RequestAuthentication → Issuer documents.

Rule 1: a token that Istio verifies and no Issuer document here can is refused, never ignored.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from extauthz.identity import Issuer, IssuerSpec, JwksError, compile_issuer, parse_jwks
from extauthz.mesh.api import JwtRule
from extauthz.mesh.claims import ALWAYS_WORDS, Words
from extauthz.mesh.documents import Document, unknown_fields
from extauthz.mesh.jwt_rules import HEADER, Placed, placed, plain, reads_bearer, reads_header, refuse_elsewhere
from extauthz.mesh.report import Report
from extauthz.mesh.texts import quoted
from extauthz.mesh.token_headers import TokenHeaders, token_headers
from extauthz.model.problems import Problem
from extauthz.model.subject import SERVICE

# What Envoy's verifier knows and we do.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512", "EdDSA")
_REFUSED: Final = "its tokens are refused"
_MAX_NAME: Final = 50

Spec = dict[str, Any]


class Issuers(Struct, frozen=True, kw_only=True):
    """What the RequestAuthentications of a workload become."""

    documents: dict[str, Spec] = {}  # `spec` by name
    keys: dict[str, bytes] = {}  # files of keys, by path in the bundle
    refused: dict[str, str] = {}  # what is refused: expressions by name
    headers: TokenHeaders = TokenHeaders()
    words: Words = Words()

    @property
    def accepted(self) -> tuple[str, ...]:
        """Whose tokens are taken."""
        return tuple(spec["issuer"] for spec in self.documents.values())


def to_issuers(documents: Sequence[Document], audiences: Mapping[str, str], report: Report) -> Issuers:
    """Translate all `jwtRules` that apply to a workload. `audiences`: by issuer, for rules that name none."""
    rules = placed(documents)
    specs: dict[str, Spec] = {}
    keys: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    carried: list[Placed] = []
    for at in rules:
        refused |= refuse_elsewhere(at, report)
        found = _read(at, audiences, report)
        if found is not None and _add(at, *found, specs, keys, report):
            carried.append(at)
    if not specs and any(reads_header(at.rule) for at in rules):
        # Nobody verifies these tokens any more: in such a profile they would not be looked at.
        refused["no-issuer"] = f'{quoted(HEADER)} in request.headers || "access_token" in request.query'
    headers = token_headers(rules, report)
    return Issuers(documents=specs, keys=keys, refused=refused, headers=headers, words=_words(carried))


def _read(at: Placed, audiences: Mapping[str, str], report: Report) -> tuple[Spec, bytes] | None:
    """The `spec` of an Issuer, and its keys when they are written out; None when there is none that says the same."""
    rule = at.rule
    if unknown := unknown_fields(at.document.raw(at.location), JwtRule):
        at.note(
            report,
            "lost",
            (unknown[0],),
            f"`{unknown[0]}` is not known to extauthz; {_REFUSED}",
            "write the Issuer by hand",
        )
        return None
    if not rule.issuer:
        message = f"a rule without an issuer takes tokens of anybody; {_REFUSED}"
        at.note(report, "lost", ("issuer",), message, "name the issuer")
        return None
    if not reads_bearer(rule):
        return None  # reported with its places
    named = [*(rule.audiences or []), *([audiences[rule.issuer]] if rule.issuer in audiences else [])]
    if not named:
        message = f"no audiences, so any token of the issuer would do; {_REFUSED}"
        instead = f"say what this service is called in tokens: `--audience {rule.issuer}=NAME`"
        at.note(report, "lost", ("audiences",), message, instead)
        return None
    spec: Spec = {
        "issuer": rule.issuer,
        "audiences": named,
        "algorithms": list(ALGORITHMS),
        "types": ["absent", "JWT", "at+jwt"],
        "kind": {"claim": "iss"},
        "claims": {"client": ["azp", "client_id"], "roles": []},
        "requireClaims": ["sub"],
    }
    if rule.jwks:
        spec["jwks"] = {"file": "keys.json"}
    elif uri := rule.jwks_uri or rule.jwks_uri_old:
        spec["jwks"] = {"uri": uri}
    text = (rule.jwks or "").encode()
    return (spec, text) if _is_usable(at, spec, text, report) else None


def _is_usable(at: Placed, spec: Spec, keys: bytes, report: Report) -> bool:
    """Whether an Issuer with these fields would load; notes why not."""
    problems: list[Problem] = []
    issuer: Issuer | None = compile_issuer("issuer", msgspec.convert(spec, IssuerSpec), problems)
    if issuer is None:
        error = next(problem for problem in problems if problem.severity == "error")
        field = "jwksUri" if "jwks" in error.location else "issuer"
        instead = (
            "serve the keys over TLS" if field == "jwksUri" else "let the issuer have a URL, as OpenID Connect has it"
        )
        at.note(report, "lost", (field,), f"{error.message}; {_REFUSED}", instead)
        return False
    if not keys:
        return True
    try:
        found, left_out = parse_jwks(keys, issuer)
    except JwksError as error:
        at.note(report, "lost", ("jwks",), f"no key set: {error}; {_REFUSED}", "write `jwks` as a JSON Web Key Set")
        return False
    kind: Any = "narrower" if found.keys else "lost"
    for each in left_out:
        at.note(report, kind, ("jwks",), f"{each}; tokens that it signed are refused", "sign with another key")
    return bool(found.keys)


def _add(at: Placed, spec: Spec, text: bytes, specs: dict[str, Spec], keys: dict[str, bytes], report: Report) -> bool:
    """One Issuer for each `iss`; a second rule about it adds its audiences, if nothing else differs."""
    known = next((name for name, each in specs.items() if each["issuer"] == spec["issuer"]), None)
    if known is None:
        name = _name(spec["issuer"], specs)
        if text:
            spec["jwks"] = {"file": f"keys/{name}.json"}
            keys[f"keys/{name}.json"] = json.dumps(json.loads(text), indent=2).encode() + b"\n"
        specs[name] = spec
        message = "like Istio, this Issuer does not tell access tokens from other tokens of the issuer"
        at.note(report, "note", ("issuer",), message, "name a `preset`, or what `kind` must be")
        return True
    first = specs[known]
    same_keys = not text or json.loads(text) == json.loads(keys.get(f"keys/{known}.json", b"null"))
    where = spec.get("jwks") if not text else first.get("jwks")
    if same_keys and where == first.get("jwks"):
        first["audiences"] = [*dict.fromkeys([*first["audiences"], *spec["audiences"]])]
        return True
    message = f"another rule has keys of its own for `{spec['issuer']}`: tokens that only this one takes are refused"
    at.note(report, "narrower", ("issuer",), message, "leave one of the rules out, or give each its own `iss`")
    return False


def _words(carried: Sequence[Placed]) -> Words:
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


def _name(iss: str, taken: Mapping[str, Spec]) -> str:
    """A name for the Issuer document: what tells issuers apart for a reader."""
    short = plain(iss.partition("://")[2])[:_MAX_NAME].strip("-") or "issuer"
    name, number = short, 2
    while name in taken or name == SERVICE:
        name, number = f"{short}-{number}", number + 1
    return name
