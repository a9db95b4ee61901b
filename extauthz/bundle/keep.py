"""What the journal keeps for replay, of the whole bundle: what policies and guards read, and what decided before them.

Rule: outcomes that nothing in a record can bring about again, such as a verified token, are good for another bundle as
long as whatever led to them is the same; so that is kept, as digests.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from msgspec import json

from extauthz.bundle.documents import Documents
from extauthz.guards import VERSIONS
from extauthz.identity import Issuer
from extauthz.model.keeping import Keeping, ranges_of
from extauthz.model.kept import KeptProfile
from extauthz.policy import PolicySet
from extauthz.snapshot import Profile

# Credentials: not even a pseudonym of them is worth what it might tell.
_NEVER: Final = frozenset({"authorization", "cookie", "dpop", "proxy-authorization", "set-cookie"})
_TOKEN: Final = "access_token"  # noqa: S105 - a parameter's name (RFC 6750 section 2.3)

_encode = json.Encoder(order="deterministic").encode


def compile_keeping(
    documents: Documents,
    issuers: Mapping[str, Issuer],
    profiles: Iterable[Profile],
    policies: PolicySet,
    files: Mapping[str, bytes],
) -> Keeping:
    """From everything that is compiled; `files` for the keys that are files."""
    known = {profile.name: profile for profile in profiles}
    reads = policies.reads
    fapis = [profile.fapi for profile in known.values() if profile.fapi is not None]
    names = {*reads.headers, *(fapi.financial_id.header for fapi in fapis if fapi.financial_id is not None)}
    for profile in known.values():
        if profile.tenancy is not None:
            names |= {*profile.tenancy.headers, *profile.tenancy.read_headers}
        if profile.fapi is not None and profile.fapi.versions:
            names |= {*VERSIONS}
    looked_at = {name for fapi in fapis for name in fapi.read_headers} - names
    of_issuers = {name: _issuer_digest(issuer, files) for name, issuer in issuers.items()}
    specs = {document.name: document.spec for document in documents.by_kind["SecurityProfile"]}
    literals = reads.literals | {
        literal for profile in known.values() for path in profile.paths for _, literal in path.literals
    }
    headers, marked = tuple(sorted(names - _NEVER)), tuple(sorted(looked_at - _NEVER))
    query = tuple(name for name in reads.query if name != _TOKEN)
    return Keeping(
        headers=headers,
        marked=frozenset(marked),
        names=(*headers, *marked),
        query=query,
        claims=reads.claims,
        others=reads.others,
        ranges={name: ranges_of(found) for name, found in reads.blocks.items()},
        literals=frozenset(literal for literal in literals if not literal.startswith("~")),
        profiles={"": json.encode(KeptProfile(headers=(*headers, *marked), query=query)).decode()}
        | {
            name: json.encode(
                KeptProfile(
                    profile.authentication.mode == "none",
                    _identity_digest(profile, specs[name], of_issuers),
                    _proofs_digest(specs[name], files),
                    {} if profile.fapi is None else profile.fapi.forms,
                    (*headers, *marked),
                    query,
                )
            ).decode()
            for name, profile in known.items()
        },
        issuers=of_issuers,
    )


def _digest(*parts: Any) -> str:  # noqa: ANN401 - what JSON can hold
    return sha256(_encode(parts)).hexdigest()[:16]


def _issuer_digest(issuer: Issuer, files: Mapping[str, bytes]) -> str:
    keys = sha256(files.get(issuer.jwks_file, b"")).hexdigest() if issuer.jwks_file else ""
    return _digest(issuer.digest.hex(), keys)


def _identity_digest(profile: Profile, spec: Any, issuers: Mapping[str, str]) -> str:  # noqa: ANN401
    own = [issuers.get(issuer.name, "") for issuer in profile.authentication.issuers]
    return _digest(spec.authentication, own)


def _proofs_digest(spec: Any, files: Mapping[str, bytes]) -> str:  # noqa: ANN401
    signed = spec.message_signature is not None or spec.signed_body is not None
    keys = [sha256(files[name]).hexdigest() for name in sorted(files) if name.endswith(".json")] if signed else []
    return _digest(spec.sender_constraint, spec.message_signature, spec.signed_body, keys)
