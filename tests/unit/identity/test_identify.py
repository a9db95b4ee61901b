"""The token cache never outlives `exp`, a key or a document; and every answer is explicit."""

import gc

from extauthz.identity import Identified, identify
from extauthz.identity.issuer import Issuer
from extauthz.identity.keys import KeySet
from extauthz.model.decision import Deny, Undecided
from extauthz.model.subject import Subject
from tests.fakes import a_request
from tests.unit.identity.tokens import (
    BANK,
    BANK_KEYS,
    EC,
    NOW,
    RSA,
    accepting,
    an_issuer,
    claims,
    jwk,
    key_set,
    sign,
)


class DictCache:
    def __init__(self) -> None:
        self.kept: dict[bytes, Subject] = {}

    def get(self, key: bytes) -> Subject | None:
        return self.kept.get(key)

    def put(self, key: bytes, subject: Subject) -> None:
        self.kept[key] = subject


def ask(
    token: str,
    cache: DictCache,
    *issuers: Issuer,
    keys: dict[str, KeySet] | None = None,
    now: int = NOW,
    scheme: str = "Bearer",
) -> str:
    request = a_request(headers=[("authorization", f"{scheme} {token}")])
    found = identify(request, accepting(*(issuers or (BANK,))), BANK_KEYS if keys is None else keys, cache, now)
    if isinstance(found, Identified):
        return f"{found.subject.id} {'cached' if found.cached else 'verified'}"
    assert isinstance(found, Deny | Undecided)
    return f"{found.reason.code} {found.check}"


def test_a_token_is_verified_once_and_then_known() -> None:
    cache, token = DictCache(), sign(claims())
    assert ["alice verified", "alice cached", "alice cached"] == [ask(token, cache) for _ in range(3)]


def test_jwt_09_a_known_token_expires_like_any_other() -> None:
    cache, token = DictCache(), sign(claims(exp=NOW + 5))
    ask(token, cache)
    assert "alice cached" == ask(token, cache, now=NOW + 14)
    assert "token_expired JWT-09" == ask(token, cache, now=NOW + 15)


def test_jwt_10_a_known_token_is_refused_when_the_clock_steps_back() -> None:
    cache, token = DictCache(), sign(claims())
    ask(token, cache)
    assert "token_not_yet_valid JWT-10" == ask(token, cache, now=NOW - 3600)


def test_a_known_token_ends_with_the_key_that_signed_it() -> None:
    cache, token = DictCache(), sign(claims())
    ask(token, cache)
    rotated = {"bank": key_set(BANK, jwk(RSA, kid="rsa"))}
    assert "token_key_unknown JWT-03" == ask(token, cache, keys=rotated)
    assert "keys_unavailable KEY-03" == ask(token, cache, keys={})


def test_a_known_token_ends_with_the_document_that_accepted_it() -> None:
    cache, token = DictCache(), sign(claims())
    ask(token, cache)
    stricter = an_issuer(audiences=["payments-api"])
    assert "token_audience_refused JWT-08" == ask(token, cache, stricter, keys={"bank": key_set(stricter)})


def test_a_token_known_in_one_profile_is_unknown_where_its_issuer_is_not_accepted() -> None:
    cache, token = DictCache(), sign(claims())
    ask(token, cache)
    other = an_issuer("other", issuer="https://other.test")
    keys = {**BANK_KEYS, "other": key_set(other, jwk(EC, kid="ec"))}
    assert "token_issuer_refused JWT-07" == ask(token, cache, other, keys=keys)
    assert "alice cached" == ask(token, cache, other, BANK, keys=keys)


def test_refused_tokens_are_not_kept() -> None:
    cache = DictCache()
    for token in (sign(claims(aud="other")), sign(claims(exp=NOW - 99)), "a.b.c", sign(claims())[:-2] + "AA"):
        ask(token, cache)
    assert {} == cache.kept


def test_dp_02_the_scheme_is_looked_at_for_known_tokens_too() -> None:
    cache, token = DictCache(), sign(claims())
    ask(token, cache)
    assert "token_binding_unverified DP-02" == ask(token, cache, scheme="DPoP")


def test_neither_tokens_nor_tracked_objects_are_kept_in_memory() -> None:
    """The cache holds digests, and Subjects that the garbage collector need not visit."""
    cache, token = DictCache(), sign(claims(roles=["a", "b"], cnf={"jkt": "A" * 43}))
    ask(token, cache)
    ((key, subject),) = cache.kept.items()
    assert token.encode() not in key
    assert not gc.is_tracked(subject)
    gc.collect()
    assert not any(gc.is_tracked(getattr(subject, field)) for field in Subject.__struct_fields__)
