"""`extauthz token`: keys and tokens of a pretended issuer, for demos and tests."""

import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import click
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from extauthz.cli import ExitCode
from extauthz.identity import thumbprint

SigningKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
ALGORITHMS = ("PS256", "ES256", "EdDSA")
RSA_BITS = 3072
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Duration(click.ParamType[int]):
    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        sign, digits, unit = value[:1] == "-", value[:-1].removeprefix("-"), value[-1:]
        if not digits.isascii() or not digits.isdigit() or unit not in _UNITS:
            self.fail(f"`{value}` is not a duration such as 90s, 5m or 1h", param, ctx)
        return int(digits) * _UNITS[unit] * (-1 if sign else 1)


class _Claim(click.ParamType[tuple[str, object]]):
    name = "name=json"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, object]:
        name, equals, text = value.partition("=")
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
            equals = ""
        if not name or not equals:
            self.fail(f'`{value}` must be a name and a JSON value, such as limit=500 or region="eu"', param, ctx)
        return name, parsed


@click.group()
def command() -> None:
    """Make keys and tokens of a pretended issuer, for demos and tests only.

    Tokens of real users come from your identity provider. Never name a key made here in a bundle that guards
    anything of value: whoever can read the key file can be anybody.
    """


@command.command(
    epilog="""\b
Examples:
  extauthz token keygen --out demo-keys
  extauthz token keygen --out demo-keys --algorithm ES256
"""
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory to write to.")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="PS256", show_default=True)
def keygen(out: Path, algorithm: str) -> None:
    """Write a new private key (key.pem, readable by you alone) and its public half (jwks.json).

    An Issuer document finds the keys with `jwks: {file: jwks.json}`. Existing files are never overwritten.
    """
    key = _generate(algorithm)
    jwks = {"keys": [_public_jwk(key) | {"alg": algorithm, "use": "sig"}]}
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("key.pem", "jwks.json"):
            if (out / name).exists():
                _stop(ExitCode.RESOURCE, f"{out / name}: exists already")
        _write_new(out / "key.pem", pem, 0o600)
        _write_new(out / "jwks.json", json.dumps(jwks, indent=2).encode() + b"\n", 0o644)
    except OSError as error:
        _stop(ExitCode.RESOURCE, f"{error.filename}: {error.strerror}")
    click.echo(f"{out / 'key.pem'}\n{out / 'jwks.json'}")


@command.command(
    epilog="""\b
Examples:
  extauthz token mint --key demo-keys/key.pem --issuer https://login.bank.test/realms/demo \\
      --audience accounts-api --subject alice --tenant acme --role banking-officer
  extauthz token mint --key demo-keys/key.pem --issuer https://login.bank.test/realms/demo \\
      --audience accounts-api --subject alice --scope "accounts payments" --claim limit=500 --ttl 1h
  curl -H "Authorization: Bearer $(extauthz token mint ...)" http://127.0.0.1:10000/
"""
)
@click.option("--key", "key_file", type=click.Path(path_type=Path), required=True, help="Private key, PEM.")
@click.option("--issuer", required=True, help="`iss`, exactly as in the Issuer document.")
@click.option("--audience", multiple=True, required=True, help="`aud`; may be repeated.")
@click.option("--subject", required=True, help="`sub`.")
@click.option("--tenant", default="", help="Claim `tenant_id`.")
@click.option("--role", multiple=True, help="`realm_access.roles` and `roles`; may be repeated.")
@click.option("--scope", default="", help="`scope`, words between spaces.")
@click.option("--client", default="demo-client", show_default=True, help="`client_id` and `azp`.")
@click.option("--ttl", type=_Duration(), default="5m", show_default=True, help="Until it expires; negative: expired.")
@click.option("--claim", type=_Claim(), multiple=True, help="Any other claim, or another value of one above.")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), help="Default: the one that fits the key.")
def mint(  # noqa: PLR0913 - one parameter an option
    *,
    key_file: Path,
    issuer: str,
    audience: tuple[str, ...],
    subject: str,
    tenant: str,
    role: tuple[str, ...],
    scope: str,
    client: str,
    ttl: int,
    claim: tuple[tuple[str, object], ...],
    algorithm: str | None,
) -> None:
    """Print an access token that presets `keycloak` and `rfc9068` accept, for demos and tests only."""
    key = _load(key_file)
    fitting = _algorithm_of(key)
    if algorithm not in {None, fitting}:
        message = f"the key in `{key_file}` signs {fitting}, not {algorithm}"
        raise click.UsageError(message)
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": issuer,
        "aud": audience[0] if len(audience) == 1 else list(audience),
        "sub": subject,
        "client_id": client,
        "azp": client,
        "typ": "Bearer",
        "jti": str(uuid4()),
        "iat": min(now, now + ttl - 1),
        "exp": now + ttl,
    }
    if tenant:
        claims["tenant_id"] = tenant
    if role:
        claims |= {"realm_access": {"roles": list(role)}, "roles": list(role)}
    if scope:
        claims["scope"] = scope
    header = {"typ": "at+jwt", "kid": _public_jwk(key)["kid"]}
    payload = json.dumps(claims | dict(claim), separators=(",", ":")).encode()
    click.echo(jwt.PyJWS().encode(payload, key, fitting, header))


def _generate(algorithm: str) -> SigningKey:
    if algorithm == "ES256":
        return generate_private_key(SECP256R1())
    if algorithm == "EdDSA":
        return Ed25519PrivateKey.generate()
    return generate_rsa_key(public_exponent=65537, key_size=RSA_BITS)


def _algorithm_of(key: SigningKey) -> str:
    if isinstance(key, RSAPrivateKey):
        return "PS256"
    return "ES256" if isinstance(key, EllipticCurvePrivateKey) else "EdDSA"


def _public_jwk(key: SigningKey) -> dict[str, str]:
    """The public half (RFC 7517), its `kid` the RFC 7638 thumbprint."""
    if isinstance(key, RSAPrivateKey):
        jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, EllipticCurvePrivateKey):
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    public = {name: value for name, value in jwk.items() if isinstance(value, str)}
    return {**public, "kid": thumbprint(public)}


def _load(file: Path) -> SigningKey:
    try:
        pem = file.read_bytes()
    except OSError as error:
        _stop(ExitCode.RESOURCE, f"{file}: {error.strerror}")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        _stop(ExitCode.CONFIG, f"{file}: not a private key in PEM without a passphrase")
    if isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key
    return _stop(ExitCode.CONFIG, f"{file}: must be an RSA, P-256 or Ed25519 key")


def _write_new(file: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _stop(code: ExitCode, message: str) -> NoReturn:
    click.echo(f"extauthz token: {message}", err=True)
    sys.exit(code)
