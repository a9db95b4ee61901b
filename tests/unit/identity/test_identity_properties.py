"""Properties: nothing but a token signed by the issuer over these very bytes identifies anybody."""

import json
import string

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extauthz.identity import parse_jwks
from extauthz.identity.base64url import decode, encode
from extauthz.identity.compact import Compact, parse_compact
from extauthz.identity.keys import JwksError
from extauthz.identity.strict_json import AmbiguousJsonError, read_object
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject
from tests.unit.identity.tokens import BANK, BANK_KEYS, NOW, an_issuer, claims, claims_to_subject, segment, sign, verify

BASE64URL = string.ascii_letters + string.digits + "-_"
PATIENT = settings(deadline=None)  # the machine may be busy
PATIENT_LONG = settings(deadline=None, max_examples=300)
TOKENS = {algorithm: sign(claims(), algorithm=algorithm) for algorithm in ("ES256", "PS256", "EdDSA")}
WIDE = an_issuer(
    claims={
        "subject": ["oid", "sub"],
        "client": ["azp", "client_id"],
        "tenant": "org.tenant",
        "tenantOptional": True,
        "roles": ["realm_access.roles", "groups"],
        "authTime": "auth_time",
    },
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "sub",
        "oid",
        "azp",
        "client_id",
        "org",
        "realm_access",
        "groups",
        "scope",
        "acr",
        "exp",
        "iat",
        "nbf",
        "jti",
        "auth_time",
        "cnf",
        "iss",
        "aud",
        "_claim_names",
        "typ",
        "tenant",
        "roles",
    ]
)
CLAIMS = st.dictionaries(NAMES | st.text(max_size=4), JSON | st.dictionaries(NAMES, JSON, max_size=3), max_size=8)
SEGMENT = st.text(BASE64URL, max_size=40)


def is_refused(token: str) -> bool:
    found = verify(token, keys=BANK_KEYS)
    return isinstance(found, Deny) and found.reason is not Reason.POLICY_ALLOWED


@PATIENT
@given(st.text() | st.text(BASE64URL + ".=", max_size=200) | st.builds("{}.{}.{}".format, SEGMENT, SEGMENT, SEGMENT))
@example("..")
@example("." * 9000)
@example("\ud800.\ud800.\ud800")
def test_any_text_as_a_token_is_refused_and_never_raises(text: str) -> None:
    assert is_refused(text)


@PATIENT
@given(header=CLAIMS | JSON, payload=CLAIMS | JSON, signature=st.binary(max_size=80))
def test_any_json_as_header_and_payload_is_refused_without_a_signature(
    header: object, payload: object, signature: bytes
) -> None:
    parts = [json.dumps(part).encode("utf-8", "surrogatepass") for part in (header, payload)]
    assert is_refused(f"{encode(parts[0])}.{encode(parts[1])}.{encode(signature)}")


@given(st.sampled_from(sorted(TOKENS)), st.data())
@PATIENT_LONG
def test_any_changed_character_of_a_good_token_is_refused(algorithm: str, data: st.DataObject) -> None:
    """Each segment, each class of character: replaced, left out, or put in."""
    token = TOKENS[algorithm]
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(BASE64URL + ".=+/ \n\x00ä~,") | st.characters())
    kind = data.draw(st.sampled_from(["replace", "remove", "insert"]))
    put = {"replace": other, "remove": "", "insert": other + token[at]}[kind]
    changed = token[:at] + put + token[at + 1 :]
    if changed != token:
        assert is_refused(changed)


@given(st.sampled_from(sorted(TOKENS)), st.integers(0, 2), st.integers(min_value=0), st.integers(0, 7))
@PATIENT_LONG
def test_any_flipped_bit_of_header_payload_or_signature_is_refused(
    algorithm: str, which: int, position: int, bit: int
) -> None:
    parts = TOKENS[algorithm].split(".")
    content = bytearray(decode(parts[which]) or b"")
    content[position % len(content)] ^= 1 << bit
    parts[which] = encode(bytes(content))
    assert is_refused(".".join(parts))


@PATIENT
@given(st.sampled_from(sorted(TOKENS)), st.sampled_from(sorted(TOKENS)), st.integers(0, 2))
def test_segments_of_two_good_tokens_do_not_mix(first: str, second: str, which: int) -> None:
    parts, other = TOKENS[first].split("."), sign(claims(sub="mallory"), algorithm=second).split(".")
    parts[which] = other[which]
    if ".".join(parts) not in TOKENS.values():
        found = verify(".".join(parts), keys=BANK_KEYS)
        assert isinstance(found, Deny)


@PATIENT
@given(CLAIMS)
def test_any_claims_end_in_a_subject_or_a_refusal(found: dict[str, object]) -> None:
    for issuer in (BANK, WIDE):
        made = claims_to_subject(issuer, found)
        assert isinstance(made, Subject | Deny)
        if isinstance(made, Subject):
            assert made.id.isprintable()
            assert all(word and " " not in word for word in made.scopes)
            assert bool(made.confirmation) == ("cnf" in found)


@PATIENT
@given(CLAIMS)
def test_signed_claims_of_any_shape_never_raise(found: dict[str, object]) -> None:
    """An issuer that signs nonsense gets a refusal, not an error."""
    merged = {**claims(), **found}
    verified = verify(sign(json.dumps(merged).encode("utf-8", "surrogatepass")), keys=BANK_KEYS)
    assert isinstance(verified, Subject | Deny)
    if isinstance(verified, Subject):
        assert ("cnf" in found) == bool(verified.confirmation)
        assert verified.issuer == merged["iss"]


@PATIENT
@given(st.text())
def test_base64url_has_one_spelling_a_value(text: str) -> None:
    value = decode(text)
    assert value is None or encode(value) == text


@PATIENT
@given(st.binary())
def test_base64url_reads_what_it_writes(value: bytes) -> None:
    assert value == decode(encode(value))


@PATIENT
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))
def test_strict_json_agrees_with_json_on_everything_it_accepts(raw: bytes) -> None:
    try:
        value = read_object(raw)
    except AmbiguousJsonError:
        return
    assert value == json.loads(raw)


@PATIENT
@given(st.binary() | JSON.map(lambda value: json.dumps({"keys": [value]}).encode("utf-8", "surrogatepass")))
def test_any_bytes_as_a_key_set_are_read_or_refused(raw: bytes) -> None:
    try:
        keys, notes = parse_jwks(raw, BANK)
    except JwksError:
        return
    assert 0 == len(keys)
    assert all(note.isprintable() for note in notes)


@PATIENT
@given(st.dictionaries(st.sampled_from(["kty", "n", "e", "x", "y", "crv", "alg", "use", "kid", "d"]), JSON))
def test_any_members_of_a_key_are_read_or_left_out(member: dict[str, object]) -> None:
    for kty in ("RSA", "EC", "OKP"):
        raw = json.dumps({"keys": [{**member, "kty": kty}]}).encode("utf-8", "surrogatepass")
        try:
            keys, _ = parse_jwks(raw, BANK)
        except JwksError:
            continue
        assert 0 == len(keys)


@PATIENT
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_what_was_taken_apart_is_what_was_signed(header: bytes, payload: bytes) -> None:
    token = f"{segment(header)}.{segment(payload)}.AA"
    parsed = parse_compact(token)
    if isinstance(parsed, Compact):
        assert parsed.signed == token.rpartition(".")[0].encode()
        assert parsed.payload == payload


def test_the_tokens_of_these_properties_are_good() -> None:
    for token in TOKENS.values():
        assert isinstance(verify(token, keys=BANK_KEYS, now=NOW), Subject)
