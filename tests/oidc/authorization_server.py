"""A certified authorization server as a child process, and clients that get tokens from it by its real flows."""

import base64
import hashlib
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.cli.demo_processes import Child, read_port

HERE = Path(__file__).parent
RESOURCE = "https://api.bank.test/open-banking"
REDIRECT = "https://tpp.test/callback"
DPOP_CLIENT, MTLS_CLIENT = "acme.tpp-dpop", "acme.tpp-mtls"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *, private: bool = False) -> dict[str, str]:
    algorithm = (
        jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    )
    found = json.loads(algorithm.to_jwk(key if private else key.public_key()))
    return {name: value for name, value in found.items() if name != "key_ops"}


def proof(key: ec.EllipticCurvePrivateKey, method: str, url: str, token: str = "", **changes: object) -> str:
    """A DPoP proof (RFC 9449 section 4.2); keyword arguments change or (None) drop claims."""
    claims = {"jti": str(uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
    if token:
        claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
    claims |= changes
    payload = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(payload, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": jwk(key)})


def install(target: Path) -> Path:
    """The server's program with its pinned packages below `target`."""
    for name in ("package.json", "package-lock.json", ".npmrc", "server.mjs"):
        shutil.copy(HERE / name, target / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=target, check=True, timeout=120)
    return target / "server.mjs"


class AuthorizationServer:
    """Started with two clients: one that proves keys with DPoP, one that holds a certificate."""

    def __init__(
        self, work: Path, program: Path, server_cert: tuple[Path, Path, Path], client_cert: tuple[Path, Path]
    ) -> None:
        chain, key, self.ca = server_cert
        self.client_cert = client_cert
        self.client_key = ec.generate_private_key(ec.SECP256R1())
        signing = rsa.generate_private_key(65537, 2048)
        der = x509.load_pem_x509_certificate(client_cert[0].read_bytes()).public_bytes(Encoding.DER)
        certificate_key = x509.load_der_x509_certificate(der).public_key()
        algorithm = (
            jwt.algorithms.ECAlgorithm
            if isinstance(certificate_key, ec.EllipticCurvePublicKey)
            else jwt.algorithms.RSAAlgorithm
        )
        public = json.loads(algorithm.to_jwk(certificate_key))
        public.pop("key_ops", None)
        common = {
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "client_credentials"],
            "response_types": ["code"],
            "id_token_signed_response_alg": "PS256",
            "scope": "openid accounts payments",
        }
        clients = [
            common
            | {
                "client_id": DPOP_CLIENT,
                "token_endpoint_auth_method": "private_key_jwt",
                "dpop_bound_access_tokens": True,
                "jwks": {"keys": [jwk(self.client_key) | {"kid": "c1", "use": "sig", "alg": "ES256"}]},
            },
            common
            | {
                "client_id": MTLS_CLIENT,
                "token_endpoint_auth_method": "self_signed_tls_client_auth",
                "tls_client_certificate_bound_access_tokens": True,
                "jwks": {"keys": [public | {"kid": "c1", "x5c": [base64.b64encode(der).decode()]}]},
            },
        ]
        setup = {
            "clients": clients,
            "jwks": {"keys": [jwk(signing, private=True) | {"kid": "as1", "use": "sig", "alg": "PS256"}]},
            "resource": RESOURCE,
        }
        (work / "clients.json").write_text(json.dumps(setup))
        ports = work / "as.port"
        node = shutil.which("node")
        self.child = Child("oidc-provider", [node, program, chain, key, work / "clients.json", ports], work / "as.log")
        self.issuer = f"https://localhost:{self.child.await_ready(lambda: read_port(ports))}"

    def http(self, *, certificate: bool = False) -> httpx.Client:
        """A client of the server, with or without the TPP's certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if certificate:
            context.load_cert_chain(*map(str, self.client_cert))
        return httpx.Client(base_url=self.issuer, verify=context, timeout=10)

    def assertion(self) -> dict[str, str]:
        """private_key_jwt (RFC 7523)."""
        now = int(time.time())
        claims = {
            "iss": DPOP_CLIENT,
            "sub": DPOP_CLIENT,
            "aud": self.issuer,
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + 60,
        }
        return {
            "client_id": DPOP_CLIENT,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode(claims, self.client_key, algorithm="ES256", headers={"kid": "c1"}),
        }

    def dpop_token(self, key: ec.EllipticCurvePrivateKey, user: str) -> str:
        """By pushed authorization request, login and code, bound to `key` (FAPI 2.0's flow)."""
        with self.http() as client:
            return self._by_code(
                client, self.assertion, user, lambda: {"DPoP": proof(key, "POST", f"{self.issuer}/token")}
            )

    def certificate_token(self, user: str) -> str:
        """By the same flow; the client is who its certificate says, and so is the token's."""
        with self.http(certificate=True) as client:
            return self._by_code(client, lambda: {"client_id": MTLS_CLIENT}, user, dict)

    def service_token(self) -> str:
        """For the client itself, by client credentials, bound to its certificate."""
        with self.http(certificate=True) as client:
            form = {
                "client_id": MTLS_CLIENT,
                "grant_type": "client_credentials",
                "scope": "accounts",
                "resource": RESOURCE,
            }
            return _token(client.post("/token", data=form))

    def _by_code(
        self,
        client: httpx.Client,
        authenticate: Callable[[], dict[str, str]],
        user: str,
        token_headers: Callable[[], dict[str, str]],
    ) -> str:
        verifier = b64(uuid4().bytes + uuid4().bytes)
        request = {
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": "openid accounts payments",
            "resource": RESOURCE,
            "code_challenge": b64(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
            "state": "s",
            "login_hint": user,
        }
        pushed = client.post("/request", data=request | authenticate())
        assert pushed.status_code == httpx.codes.CREATED, pushed.text
        client_id = authenticate()["client_id"]
        answer = client.get("/auth", params={"client_id": client_id, "request_uri": pushed.json()["request_uri"]})
        for _ in range(8):
            location = answer.headers["location"]
            if location.startswith(REDIRECT):
                break
            answer = client.get(location)
        query = parse_qs(urlsplit(location).query)
        assert "code" in query, location
        exchange = {
            "grant_type": "authorization_code",
            "code": query["code"][0],
            "redirect_uri": REDIRECT,
            "code_verifier": verifier,
        }
        return _token(client.post("/token", data=exchange | authenticate(), headers=token_headers()))


def _token(answer: httpx.Response) -> str:
    assert answer.status_code == httpx.codes.OK, answer.text
    return str(answer.json()["access_token"])
