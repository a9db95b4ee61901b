"""`extauthz token`: what it makes is accepted by a bundle that names its keys, and nothing is overwritten."""

import json
import stat
import time
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from extauthz.cli import ExitCode, main
from extauthz.identity import parse_jwks
from extauthz.identity.access_token import verify_access_token
from extauthz.model.subject import Subject
from tests.unit.identity.tokens import accepting, an_issuer

ISS = "https://login.bank.test/realms/demo"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["token", *(str(argument) for argument in arguments)])


def mint(key: Path, *arguments: object) -> Result:
    return run("mint", "--key", key, "--issuer", ISS, "--audience", "accounts-api", "--subject", "alice", *arguments)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    assert 0 == run("keygen", "--out", tmp_path, "--algorithm", "ES256").exit_code
    return tmp_path


@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("preset", ["keycloak", "rfc9068"])
def test_a_minted_token_is_accepted_with_the_generated_keys(algorithm: str, preset: str, tmp_path: Path) -> None:
    assert 0 == run("keygen", "--out", tmp_path / "new", "--algorithm", algorithm).exit_code
    issuer = an_issuer(issuer=ISS, preset=preset, algorithms=[algorithm], claims={"tenant": "tenant_id"})
    known, notes = parse_jwks((tmp_path / "new" / "jwks.json").read_bytes(), issuer)
    assert [] == notes
    made = mint(
        tmp_path / "new" / "key.pem",
        *("--tenant", "acme", "--role", "officer", "--role", "teller", "--scope", "accounts payments"),
        *("--claim", "limit=500", "--claim", 'region="eu"'),
    )
    found = verify_access_token(made.stdout.strip(), accepting(issuer), {"bank": known}, int(time.time()))
    assert isinstance(found, Subject), found
    assert ("alice", "acme", ("officer", "teller"), ("accounts", "payments"), "demo-client") == (
        found.id,
        found.tenant,
        found.roles,
        found.scopes,
        found.client,
    )
    assert (500, "eu") == (json.loads(found.claims)["limit"], json.loads(found.claims)["region"])


def test_the_private_key_is_readable_by_its_owner_alone(keys: Path) -> None:
    assert 0o600 == stat.S_IMODE((keys / "key.pem").stat().st_mode)
    (public,) = json.loads((keys / "jwks.json").read_text())["keys"]
    assert {"kty", "crv", "x", "y", "kid", "alg", "use"} == set(public)


@pytest.mark.parametrize("present", ["key.pem", "jwks.json"])
def test_existing_files_are_never_overwritten_and_nothing_is_half_done(present: str, tmp_path: Path) -> None:
    (tmp_path / present).write_text("mine")
    found = run("keygen", "--out", tmp_path)
    assert ExitCode.RESOURCE == found.exit_code
    assert f"extauthz token: {tmp_path / present}: exists already\n" == found.stderr
    assert [present] == [file.name for file in tmp_path.iterdir()]
    assert "mine" == (tmp_path / present).read_text()


@pytest.mark.parametrize(("ttl", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("-1m", -60)])
def test_the_lifetime_is_as_asked(keys: Path, ttl: str, seconds: int) -> None:
    claims = jwt.decode(mint(keys / "key.pem", f"--ttl={ttl}").stdout.strip(), options={"verify_signature": False})
    assert abs(claims["exp"] - time.time() - seconds) < 10
    assert claims["iat"] < claims["exp"]


def test_a_claim_given_by_name_replaces_the_usual_one(keys: Path) -> None:
    made = mint(keys / "key.pem", "--claim", 'sub="bob"', "--audience", "second", "--claim", "cnf={}")
    claims = jwt.decode(made.stdout.strip(), options={"verify_signature": False})
    assert ("bob", ["accounts-api", "second"], {}) == (claims["sub"], claims["aud"], claims["cnf"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--claim", "limit"),
        ("--claim", "limit=abc"),
        ("--claim", "=1"),
        ("--ttl", "soon"),
        ("--ttl", "5"),
        ("--algorithm", "HS256"),
        ("--algorithm", "PS256"),
    ],
)
def test_wrong_usage_is_exit_code_2(keys: Path, arguments: tuple[str, str]) -> None:
    found = mint(keys / "key.pem", *arguments)
    assert ExitCode.USAGE == found.exit_code
    assert "" == found.stdout


def test_a_missing_key_file_is_exit_code_4(tmp_path: Path) -> None:
    found = mint(tmp_path / "missing.pem")
    assert ExitCode.RESOURCE == found.exit_code
    assert f"extauthz token: {tmp_path / 'missing.pem'}: No such file or directory\n" == found.stderr


def test_a_key_file_that_cannot_sign_is_exit_code_3(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    secret = ec.generate_private_key(ec.SECP256R1())
    unusable = [
        b"text",
        secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass")),
        ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ]
    for content in unusable:
        file.write_bytes(content)
        found = mint(file)
        assert ExitCode.CONFIG == found.exit_code
        assert found.stderr.startswith(f"extauthz token: {file}: ")


def test_the_key_of_another_tool_signs_too(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    key = rsa.generate_private_key(65537, 2048)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    header = jwt.get_unverified_header(mint(file).stdout.strip())
    assert ("PS256", "at+jwt") == (header["alg"], header["typ"])


@pytest.mark.parametrize("arguments", [(), ("keygen",), ("mint",)])
def test_help_says_whom_it_is_for_and_shows_examples(arguments: tuple[str, ...]) -> None:
    found = run(*arguments, "--help")
    assert ExitCode.OK == found.exit_code
    if arguments:
        assert "Examples:" in found.stdout
    if arguments != ("keygen",):
        assert "demos and tests only" in found.stdout.replace("\n ", "")
