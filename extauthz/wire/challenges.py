"""What WWW-Authenticate says to a client that was refused: one challenge a line, every parameter quoted.

Rule 1: the error codes and descriptions are fixed words; scopes, acr values and algorithms come from the bundle.
Rule 2: a parameter with a character that a quoted-string could not carry plainly is left out, never escaped.
"""

import re
from functools import lru_cache
from typing import Final

from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason

# The error code of each shape; without a credential the challenge is bare (RFC 6750 section 3.1).
ERRORS: Final = {
    "request": "invalid_request",  # RFC 6750 section 3.1
    "token": "invalid_token",
    "scope": "insufficient_scope",
    "proof": "invalid_dpop_proof",  # RFC 9449 section 7.1
    "nonce": "use_dpop_nonce",  # RFC 9449 section 9
    "step": "insufficient_user_authentication",  # RFC 9470 section 3
    "claims": "insufficient_claims",  # the claims challenge of Entra ID
}
_BEARER: Final = "Bearer"
_DPOP: Final = "DPoP"
_OF_DPOP: Final = frozenset({"proof", "nonce"})  # what is wrong with a proof is said in its own scheme
_ALGORITHMS: Final = "algs"  # RFC 9449 section 7.1: a parameter of DPoP challenges alone
_SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")  # RFC 6749 section 3.3
_TOKEN: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_PLAIN: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,1024}")  # RFC 6750 section 3, error_description

_Parameters = tuple[tuple[str, str], ...]


def challenges(refusal: Deny | Undecided, realm: str) -> tuple[str, ...]:
    """The values of WWW-Authenticate, the scheme that the client used first; () when the reason calls for none."""
    if not isinstance(refusal, Deny):
        return ()
    shape = refusal.reason.shape
    if shape != "credential" and shape not in ERRORS:
        return ()
    scopes = refusal.scopes if shape in {"scope", "step"} else ()
    scheme = _DPOP if shape in _OF_DPOP else refusal.scheme or _BEARER
    return _challenges(refusal.reason, scheme, refusal.offers, refusal.parameters, scopes, realm)


@lru_cache(maxsize=1024)  # schemes, parameters and scopes are few: the bundle names them
def _challenges(
    reason: Reason,
    scheme: str,
    offers: tuple[str, ...],
    parameters: _Parameters,
    scopes: tuple[str, ...],
    realm: str,
) -> tuple[str, ...]:
    said: list[tuple[str, str]] = []
    if error := ERRORS.get(reason.shape):
        said += [("error", error), ("error_description", reason.words)]
    said += [pair for pair in parameters if pair[0] != _ALGORITHMS]
    if needed := " ".join(scope for scope in scopes if _SCOPE_TOKEN.fullmatch(scope)):
        said.append(("scope", needed))
    algorithms = tuple(pair for pair in parameters if pair[0] == _ALGORITHMS)
    lines = [_line(scheme, realm, (*said, *algorithms))]
    lines += [_line(other, realm, algorithms) for other in dict.fromkeys(offers) if other.lower() != scheme.lower()]
    return tuple(line for line in lines if line)


def _line(scheme: str, realm: str, parameters: _Parameters) -> str:
    """One challenge (RFC 9110 section 11.6.1); "" when the scheme has no name that may be written."""
    if not _TOKEN.fullmatch(scheme):
        return ""
    is_dpop = scheme.lower() == _DPOP.lower()
    quoted = [f'realm="{realm}"'] if realm else []
    quoted += [
        f'{name}="{value}"'
        for name, value in parameters
        if (is_dpop or name != _ALGORITHMS) and _TOKEN.fullmatch(name) and _PLAIN.fullmatch(value)
    ]
    return f"{scheme} {', '.join(quoted)}" if quoted else scheme
