"""`extauthz check`, as a user types it."""

import json
from hashlib import sha256
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.cli.check import command
from extauthz.guards import Entry
from extauthz.identity import base64url, thumbprint
from extauthz.sources import Operator, RevocationsOptions, RuntimeEmergencies

BUNDLE = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: idp}
spec:
  preset: rfc9068
  issuer: https://idp.test
  audiences: [api]
  algorithms: [ES256]
  jwks: {uri: "https://idp.test/certs"}
  claims: {roles: [roles]}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {mode: required, issuers: [idp]}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: mesh}
spec:
  match: {hosts: [mesh.test], paths: [/**]}
  authentication: {mode: none}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: staff}
spec:
  effect: allow
  match: {hosts: [api.test]}
  rules:
  - name: read
    from: [{roles: [reader]}]
    to: [{methods: [GET], paths: [/items/**]}]
    obligations: {upstreamHeaders: {x-level: "'low'"}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  effect: allow
  match: {hosts: [mesh.test]}
  rules:
  - name: front
    from: [{principals: [spiffe://cluster.local/ns/web/sa/front]}]
    to: [{methods: [POST]}]
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: closed}
spec:
  effect: deny
  rules:
  - name: archive
    to: [{paths: [/items/archive/**]}]
"""
READER = json.dumps({"sub": "u1", "roles": ["reader"]})
WRITER = json.dumps({"sub": "u2", "roles": ["writer"]})
ITEMS = "https://api.test/items/1"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.yaml").write_text(BUNDLE)
    return tmp_path / "bundle"


def check(bundle: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--bundle", str(bundle), *arguments])


def facts(bundle: Path, *arguments: str) -> dict[str, object]:
    result = check(bundle, "--format", "json", *arguments)
    assert result.exit_code in {0, 1}, result.output
    return json.loads(result.stdout)


def test_an_allowed_request_exits_with_0_and_shows_what_the_upstream_would_get(bundle: Path) -> None:
    result = check(bundle, ITEMS, "--claims", READER)
    assert 0 == result.exit_code
    for words in (
        "ALLOW  policy_allowed  HTTP 200",
        "rule `staff/read` allows it",
        "no token of issuer `idp` was verified",
        "x-auth-subject: u1",
        "x-level: low",
        "/items/**",
    ):
        assert words in result.stdout


def test_a_denied_request_exits_with_1_and_names_what_was_missing(bundle: Path) -> None:
    result = check(bundle, ITEMS, "--claims", WRITER)
    assert 1 == result.exit_code
    assert "DENY  no_policy_matched  HTTP 403" in result.stdout
    assert "the closest is `staff/read`, where this does not match: from[0].roles (found writer)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "reason", "explanation"),
    [
        ((ITEMS,), "no_credential", "EX-01: authentication required"),
        (("https://api.test/items/archive/1", "--claims", READER), "policy_denied", "rule `closed/archive` denies it"),
        (("https://other.test/",), "no_profile", "no SecurityProfile covers this host and path"),
        ((ITEMS, "-X", "DELETE", "--claims", READER), "no_policy_matched", "no allow rule speaks about"),
        (("https://mesh.test/", "-X", "POST"), "no_policy_matched", "the closest is `mesh/front`"),
        (("https://api.test/items//1",), "path_ambiguous", "T-01"),
        ((ITEMS, "-H", "authorization: Basic eDp5"), "scheme_unsupported", "EX-"),
    ],
)
def test_the_reason_is_explained_in_one_line(
    bundle: Path, arguments: tuple[str, ...], reason: str, explanation: str
) -> None:
    found = facts(bundle, *arguments)
    assert (reason, "\n" in str(found["explanation"])) == (found["reason"], False)
    assert str(found["explanation"]).startswith(explanation) or explanation in str(found["explanation"])


def test_a_peer_identity_can_be_asked_about(bundle: Path) -> None:
    who = "spiffe://cluster.local/ns/web/sa/front"
    assert 0 == check(bundle, "https://mesh.test/", "-X", "POST", "--principal", who).exit_code


def test_t01_it_is_said_what_is_wrong_with_the_path(bundle: Path) -> None:
    assert "note: the path is refused for an empty segment" in check(bundle, "https://api.test/items//1").stdout


class Signer:
    """The issuer's real key."""

    def __init__(self, directory: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        self.file = directory / "jwks.json"
        self.file.write_text(json.dumps({"keys": [{**public, "kid": "k", "alg": "ES256", "use": "sig"}]}))

    def sign(self, now: int, **more: object) -> str:
        claims = {
            **more,
            "iss": "https://idp.test",
            "aud": "api",
            "sub": "u1",
            "client_id": "c",
            "jti": "1",
            "iat": now,
            "exp": now + 60,
            "roles": ["reader"],
        }
        return jwt.encode(claims, self._key, "ES256", {"kid": "k", "typ": "at+jwt"})


def test_a_real_token_is_verified_with_the_keys_given_as_of_the_time_given(bundle: Path, tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    token = tmp_path / "token.jwt"
    token.write_text(signer.sign(1_800_000_000) + "\n")
    arguments = (ITEMS, "--token", f"@{token}", "--jwks", f"idp={signer.file}")
    found = facts(bundle, *arguments, "--now", "2027-01-15T08:00:30Z")
    assert ("allow", "idp/u1", []) == (found["outcome"], found["subject"], found["notes"])
    assert "token_expired" == facts(bundle, *arguments, "--now", "2027-01-15T09:00:00+00:00")["reason"]
    (tmp_path / "other").mkdir()
    forged = Signer(tmp_path / "other").sign(1_800_000_000)
    found = facts(bundle, ITEMS, "--token", forged, *arguments[3:], "--now", "2027-01-15T08:00:30Z")
    assert "token_signature_invalid" == found["reason"]


def test_dp_17_a_real_proof_is_verified_and_its_use_is_not_asked_about(bundle: Path, tmp_path: Path) -> None:
    signer, key = Signer(tmp_path), ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    now = 1_800_000_000
    token = signer.sign(now, cnf={"jkt": thumbprint(public)})
    ath = base64url.encode(sha256(token.encode()).digest())

    def asked(htu: str) -> dict[str, object]:
        claims = {"htm": "GET", "htu": htu, "iat": now, "jti": "1", "ath": ath}
        proof = jwt.encode(claims, key, "ES256", {"typ": "dpop+jwt", "jwk": public})
        headers = ("-H", f"authorization: DPoP {token}", "-H", f"dpop: {proof}")
        return facts(bundle, ITEMS, *headers, "--jwks", f"idp={signer.file}", "--now", "2027-01-15T08:00:30Z")

    found = asked(ITEMS)
    assert "allow" == found["outcome"]
    assert ["whether the proof or the signed body was used before was not asked: only servers know"] == found["notes"]
    assert "proof_invalid" == asked("https://other.test/items/1")["reason"]


def test_a_real_token_without_keys_says_how_to_give_them(bundle: Path, tmp_path: Path) -> None:
    result = check(bundle, ITEMS, "--token", Signer(tmp_path).sign(1))
    assert 1 == result.exit_code
    assert "UNDECIDED  keys_unavailable  HTTP 503" in result.stdout
    assert "give --jwks idp=FILE" in result.stdout


def test_no_token_is_shown(bundle: Path, tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    token = signer.sign(1_800_000_000)
    result = check(bundle, ITEMS, "--token", token, "--jwks", f"idp={signer.file}", "-H", "cookie: s=secret-value")
    assert token.split(".")[1] not in result.output
    assert "secret-value" not in result.output


def test_a_check_request_in_json_is_decided_like_the_url(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "check.json"
    http = {"method": "GET", "path": "/items/1", "host": "api.test", "scheme": "https", "protocol": "HTTP/2"}
    file.write_text(json.dumps({"attributes": {"request": {"http": http}}}))
    assert "no_credential" == facts(bundle, "--request", str(file))["reason"]
    assert "policy_allowed" == facts(bundle, "--request", str(file), "--claims", READER)["reason"]


def test_control_characters_do_not_reach_the_terminal(bundle: Path) -> None:
    claims = json.dumps({"sub": "u\u001b[31m", "roles": ["reader", "\u009b2J"]})
    output = check(bundle, ITEMS, "--claims", claims).stdout
    assert not {char for char in output if not char.isprintable()} - {"\n"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give either a URL or --request"),
        ((ITEMS, "--request", "x.json"), 2, "give either a URL or --request"),
        (("api.test/items",), 2, "must be http(s)://HOST/PATH"),
        ((ITEMS, "--token", "a", "--claims", "{}"), 2, "give either --token or --claims"),
        ((ITEMS, "--claims", READER, "--issuer", "idq"), 2, "the bundle has no issuer `idq`: its issuers are `idp`"),
        ((ITEMS, "--issuer", "idp"), 2, "--issuer goes with --claims"),
        ((ITEMS, "--now", "noon"), 2, "`noon` must be a time such as"),
        ((ITEMS, "-H", "x"), 2, "`x` must be 'NAME: VALUE'"),
        ((ITEMS, "--jwks", "idp"), 2, "`idp` must be NAME=FILE"),
        ((ITEMS, "--claims", "{"), 3, "--claims: not JSON"),
        ((ITEMS, "--claims", "[]"), 3, "--claims: must be a JSON object"),
        (("--request", "none.json"), 3, "none.json: cannot be read: no such file or directory"),
        ((ITEMS, "--jwks", "idp=none.json"), 3, "none.json: cannot be read"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(
    bundle: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = check(bundle, *arguments)
    assert code == result.exit_code, result.output
    assert message in " ".join(result.stderr.split())


def test_a_bundle_with_errors_exits_with_3_and_names_file_and_line(bundle: Path) -> None:
    (bundle / "bundle.yaml").write_text(BUNDLE.replace("effect: deny", "effect: dny"))
    result = check(bundle, ITEMS)
    assert 3 == result.exit_code
    assert "spec.effect: unknown value `dny`, did you mean `deny`?" in result.stderr
    assert 3 == check(bundle / "none", ITEMS).exit_code


REVOKED = """
---
apiVersion: extauthz.io/v1
kind: Revocation
metadata: {name: frozen}
spec:
  entries:
  - {subject: u1, issuer: idp}
"""


def test_jwt_13_the_entry_of_the_bundle_that_matched_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text(BUNDLE + REVOKED)
    url = ["https://api.test/items/1", "--claims", '{"sub": "u1", "roles": ["reader"]}']
    said = CliRunner().invoke(command, ["--bundle", str(tmp_path), *url])
    assert 1 == said.exit_code
    assert (
        "DENY  emergency_denied  HTTP 403\nJWT-13: denied by `subject` of entry 1 of Revocation `frozen`" in said.stdout
    )


def test_jwt_13_the_entry_of_a_servers_list_that_matched_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.yaml").write_text(BUNDLE)
    file = tmp_path / "revoked"
    listed = RuntimeEmergencies(RevocationsOptions(file=str(file)), lambda: 0.0, lambda _change: None)
    listed.open()
    change = listed.add(Entry(selector="tokenId", value="leaked-1"), Operator("operator-1", 0, "INC-1"))
    url = ["https://api.test/items/1", "--claims", '{"sub": "u1", "roles": ["reader"], "jti": "leaked-1"}']
    asked = ["--bundle", str(tmp_path / "bundle"), *url]
    said = CliRunner().invoke(command, [*asked, "--revocations", str(file)])
    assert f"JWT-13: revoked by `tokenId` of run-time entry `{change.entry.id}`" in said.stdout
    assert 0 == CliRunner().invoke(command, asked).exit_code
    file.write_text("damaged")
    said = CliRunner().invoke(command, [*asked, "--revocations", str(file)])
    assert (3, True) == (said.exit_code, said.stderr.startswith(f"extauthz: the revocation file `{file}` is damaged"))
    said = CliRunner().invoke(command, [*asked, "--revocations", str(tmp_path / "none")])
    assert (3, f"extauthz: there is no revocation file `{tmp_path / 'none'}`\n") == (said.exit_code, said.stderr)
