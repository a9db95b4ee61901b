"""Signed requests and signed payments through a real Envoy: what a thief of either can still do."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Any
from uuid import uuid4

import pytest
import yaml

from extauthz.cli.demo_stack import CHECKOUT, Issuer, Server, start_server
from extauthz.cli.demo_tokens import AUDIENCE, Minter
from tests.envoy.clients import Answer, h2_get
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant
from tests.unit.identity.signatures import COVERED, ORGANISATION, a_jws, client_jwks, digest_of, sign
from tests.unit.identity.tokens import OTHER_RSA

HOST = "open.bank.test"
ACCOUNT, ORDERS, PAYMENTS = "/accounts/17?page=2", "/orders", "/payments"
MOST = 16 * 1024
ORDER = b'{"amount": "12.50", "to": "l-17"}'
PAGE = (CHECKOUT / "docs" / "message-signatures.md").read_text(encoding="utf-8")
MAKE_KEY, SEND = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
HAS_TOOLS = which("openssl") is not None and which("curl") is not None
KEYS = {"keys": {"tpp-1": {"file": "keys/tpp-1.json"}}, "maxBodyBytes": MOST}


def profile(name: str, paths: list[str], **sections: Any) -> dict[str, Any]:
    match = {"hosts": [HOST], "paths": paths}
    spec = {"match": match, "authentication": {"mode": "required", "issuers": ["bank"]}, **sections}
    return {"apiVersion": "extauthz.io/v1", "kind": "SecurityProfile", "metadata": {"name": name}, "spec": spec}


def documents(issuer: Issuer) -> list[dict[str, Any]]:
    jwks = {"uri": f"{issuer.name}/protocol/openid-connect/certs"}
    bank = {"preset": "keycloak", "issuer": issuer.name, "jwks": jwks, "audiences": [AUDIENCE], "algorithms": ["PS256"]}
    rule = {
        "name": "all",
        "from": [{"clients": ["tpp-1", "tpp-2"]}],
        "to": [{"methods": ["GET", "POST", "DELETE"], "paths": ["/**"]}],
    }
    head = {"apiVersion": "extauthz.io/v1"}
    return [
        {**head, "kind": "Issuer", "metadata": {"name": "bank"}, "spec": bank},
        profile("signed", ["/accounts/**", "/orders/**"], messageSignature=KEYS),
        profile("page", ["/transfers"], messageSignature={**KEYS, "keys": {"tpp-1": {"file": "page/tpp-1.json"}}}),
        profile(
            "payments",
            ["/payments/**"],
            signedBody={**KEYS, "organisations": "data.organisations"},
            fapi={"ecosystem": "brazil"},
        ),
        {
            **head,
            "kind": "AccessPolicy",
            "metadata": {"name": "clients"},
            "spec": {"effect": "allow", "match": {"hosts": [HOST]}, "rules": [rule]},
        },
    ]


def shell(script: str, directory: Path, **environment: str) -> str:
    """What a piece of the page prints."""
    command = [which("bash") or "bash", "-euo", "pipefail", "-c", script]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=directory, env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's client has its key."""
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def server(work: Path, issuer: Issuer) -> Iterator[Server]:
    """A bank that knows one client's keys and organisation."""
    bundle = work / "bundle"
    for folder in ("keys", "data", "page"):
        (bundle / folder).mkdir(parents=True)
    if HAS_TOOLS:
        shell(MAKE_KEY, work)
    registered = (work / "tpp-1.json").read_text() if HAS_TOOLS else json.dumps(client_jwks())
    (bundle / "page" / "tpp-1.json").write_text(registered)
    (bundle / "all.yaml").write_text(yaml.safe_dump_all(documents(issuer)))
    (bundle / "keys" / "tpp-1.json").write_text(json.dumps(client_jwks()))
    (bundle / "data" / "organisations.yaml").write_text(f"tpp-1: {ORGANISATION}\n")
    with ExitStack() as stack:
        yield start_server(work, stack, bundle)


@pytest.fixture(scope="module")
def gateway(launch_envoy: Launch, server: Server) -> Gateway:
    """As docs/message-signatures.md wants it: bodies in whole, as bytes."""
    return launch_envoy(Variant(body_bytes=MOST, whole_body=True, raw_body=True), authz_port=server.port)


@pytest.fixture(scope="module")
def client(minter: Minter) -> "Client":
    return Client(minter.mint({"sub": "u", "azp": "tpp-1"}), minter.mint({"sub": "u", "azp": "tpp-2"}))


class Client:
    """A client that signs; `token` is its own, `other` that of another client of the same user."""

    def __init__(self, token: str, other: str) -> None:
        self.token, self.other = token, other

    def signed(self, method: str, target: str, body: bytes = b"", **how: Any) -> list[tuple[str, str]]:
        """All headers of a request that is signed as FAPI wants it."""
        sent = {"authorization": f"Bearer {self.token}"}
        if body:
            sent["content-digest"] = digest_of(body)
        lines = {"@method": method, "@target-uri": f"https://{HOST}{target}", **sent}
        covered = (*COVERED, "content-digest") if body else COVERED
        return [*sent.items(), *sign(lines, covered, **{"created": int(time.time()), **how})]

    def payment(self, **claims: Any) -> bytes:
        now = int(time.time())
        return a_jws({"aud": f"https://{HOST}{PAYMENTS}", "iat": now, "jti": str(uuid4()), **claims})

    def pay(self, gateway: Gateway, body: bytes, **headers: str) -> Answer:
        sent = {
            "authorization": f"Bearer {self.token}",
            "content-type": "application/jwt",
            "x-fapi-interaction-id": str(uuid4()),
            **headers,
        }
        return gateway.h1(PAYMENTS, [*sent.items()], host=HOST, method="POST", body=body)


def outcome(gateway: Gateway, answer: Answer) -> tuple[int, str]:
    entry = gateway.log_entry(answer.header("x-authz-decision-id") or "")
    return answer.status, entry["reason"]


def h2(gateway: Gateway, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
    """Without `content-length`, which HTTP/2 does not need."""
    return gateway.h2([*h2_get(target, method=method, authority=HOST), *headers], body=body)


REFUSED = (401, "signature_invalid")


def test_sg_01_a_signed_request_passes_and_an_unsigned_one_does_not(gateway: Gateway, client: Client) -> None:
    assert "u" == gateway.h1(ACCOUNT, client.signed("GET", ACCOUNT), host=HOST).upstream.header("x-auth-subject")
    assert 200 == h2(gateway, "GET", ACCOUNT, client.signed("GET", ACCOUNT)).status
    bare = gateway.h1(ACCOUNT, [("authorization", f"Bearer {client.token}")], host=HOST)
    assert (401, "signature_missing") == outcome(gateway, bare)


def test_sg_02_a_signed_body_reaches_the_upstream_as_it_was_signed(gateway: Gateway, client: Client) -> None:
    headers = client.signed("POST", ORDERS, ORDER)
    assert ORDER.decode() == gateway.h1(ORDERS, headers, host=HOST, method="POST", body=ORDER).upstream.body
    assert 200 == h2(gateway, "POST", ORDERS, client.signed("POST", ORDERS, ORDER), ORDER).status
    binary = bytes(range(256))
    headers = client.signed("POST", ORDERS, binary)
    assert 200 == gateway.h1(ORDERS, headers, host=HOST, method="POST", body=binary).status


def test_sg_02_a_signature_is_worth_nothing_for_another_request(gateway: Gateway, client: Client) -> None:
    """Method, path, query, host, body and token are what was signed, or the answer is a 401."""
    headers = client.signed("GET", ACCOUNT)
    tampered = [
        gateway.h1(ACCOUNT, headers, host=HOST, method="DELETE"),
        gateway.h1("/accounts/18?page=2", headers, host=HOST),
        gateway.h1("/accounts/17?page=3", headers, host=HOST),
        gateway.h1("/accounts/17", headers, host=HOST),
        gateway.h1(ACCOUNT, [("authorization", f"Bearer {client.other}"), *headers[1:]], host=HOST),
        gateway.h1(ORDERS, client.signed("POST", ORDERS, ORDER), host=HOST, method="POST", body=ORDER[:-1] + b" "),
        gateway.h1(ORDERS, client.signed("POST", ORDERS, ORDER), host=HOST, method="POST"),
        h2(gateway, "POST", ORDERS, client.signed("POST", ORDERS, ORDER), b"[]"),
        gateway.h1(ACCOUNT, headers, host=HOST, body=b"more"),
        h2(gateway, "GET", ACCOUNT, headers, b"more"),
    ]
    assert [REFUSED] * len(tampered) == [outcome(gateway, answer) for answer in tampered]


def test_sg_01_every_line_of_the_fields_counts(gateway: Gateway, client: Client) -> None:
    """A second signature or a second description is not a choice."""
    headers = client.signed("GET", ACCOUNT)
    for name, value in headers[1:]:
        assert REFUSED == outcome(gateway, gateway.h1(ACCOUNT, [*headers, (name, value)], host=HOST))
    stranger = client.signed("GET", ACCOUNT, key="rsa", signer=OTHER_RSA)
    renamed = [(name, value.replace("sig1=", "sig2=")) for name, value in stranger[1:]]
    assert REFUSED == outcome(gateway, gateway.h1(ACCOUNT, [*headers, *renamed], host=HOST))


@pytest.mark.parametrize(
    "how", [{"created": 1_700_000_000}, {"created": 4_000_000_000}, {"expires": 1_700_000_000}, {"keyid": "other"}]
)
def test_sg_03_a_signature_is_made_just_now_with_a_registered_key(
    gateway: Gateway, client: Client, how: Mapping[str, Any]
) -> None:
    answer = gateway.h1(ACCOUNT, client.signed("GET", ACCOUNT, **how), host=HOST)
    assert REFUSED == outcome(gateway, answer)


def test_sg_02_t09_a_byte_that_envoy_does_not_show_is_not_signed(gateway: Gateway, client: Client) -> None:
    """Where headers come as text, Envoy shows `!` for a byte that is not UTF-8, which somebody could put there."""
    query = "/accounts/17?q=a!b"
    headers = client.signed("GET", query)
    assert 200 == gateway.h1(query, headers, host=HOST).status
    assert 400 == gateway.h1("/accounts/17?q=a\xffb", headers, host=HOST).status
    assert 400 == h2(gateway, "GET", "/accounts/17?q=a\xffb", headers).status


def test_sg_02_a_body_that_envoy_cuts_off_or_keeps_is_refused(
    launch_envoy: Launch, server: Server, gateway: Gateway, client: Client
) -> None:
    """Too long for `max_request_bytes`, cut off there, not sent at all: nothing of it passes as an empty body."""
    long = b"x" * (MOST + 1)
    headers = client.signed("POST", ORDERS, long)
    assert 413 == gateway.h1(ORDERS, headers, host=HOST, method="POST", body=long).status
    cutting = launch_envoy(Variant(body_bytes=MOST, raw_body=True), authz_port=server.port)
    answer = cutting.h1(ORDERS, client.signed("POST", ORDERS, long), host=HOST, method="POST", body=long)
    assert REFUSED == outcome(cutting, answer)
    silent = launch_envoy(Variant(), authz_port=server.port)
    sent = [
        silent.h1(ORDERS, client.signed("POST", ORDERS, ORDER), host=HOST, method="POST", body=ORDER),
        silent.h1(ORDERS, client.signed("POST", ORDERS), host=HOST, method="POST", body=ORDER),
        h2(silent, "POST", ORDERS, client.signed("POST", ORDERS), ORDER),
        silent.h1(ACCOUNT, client.signed("GET", ACCOUNT), host=HOST, body=b"more"),
    ]
    assert [REFUSED] * len(sent) == [outcome(silent, answer) for answer in sent]
    assert 200 == silent.h1(ACCOUNT, client.signed("GET", ACCOUNT), host=HOST).status


def test_sg_03_all_of_it_holds_when_envoy_sends_a_list_of_headers(
    launch_envoy: Launch, server: Server, client: Client
) -> None:
    raw = launch_envoy(
        Variant(body_bytes=MOST, whole_body=True, raw_body=True, raw_headers=True), authz_port=server.port
    )
    headers = client.signed("POST", ORDERS, ORDER)
    assert 200 == raw.h1(ORDERS, headers, host=HOST, method="POST", body=ORDER).status
    assert REFUSED == outcome(raw, raw.h1(ORDERS, headers, host=HOST, method="POST", body=b"{}"))
    assert REFUSED == outcome(raw, raw.h1(ORDERS, [*headers, headers[-1]], host=HOST, method="POST", body=ORDER))


@pytest.mark.skipif(not HAS_TOOLS, reason="openssl and curl are not installed: the page's client cannot run")
def test_sg_01_sg_02_the_client_of_the_page_is_accepted(gateway: Gateway, client: Client, work: Path) -> None:
    """docs/message-signatures.md, run as it stands but for where it connects to."""
    wanted = 'curl "$url"'
    assert wanted in SEND
    here = f'curl -sS "http://127.0.0.1:{gateway.port}/transfers" -H "host: {HOST}"'
    script = SEND.replace("api.banking.local", HOST).replace(wanted, here)
    answer = json.loads(shell(script, work, TOKEN=client.token))
    assert ("POST", '{"amount": "12.50", "to": "acc-2"}') == (answer["method"], answer["body"])
    forged = json.loads(shell(script, work, TOKEN=client.other))
    assert (401, "the message signature is not acceptable") == (forged["status"], forged["detail"])


# --- signed payments


def test_sg_04_a_payment_passes_once(gateway: Gateway, client: Client) -> None:
    body = client.payment()
    assert body.decode() == client.pay(gateway, body).upstream.body
    replayed = client.pay(gateway, body)
    assert (403, "signed_body_replayed") == outcome(gateway, replayed)
    assert "SIGNED_BODY" not in (replayed.header("www-authenticate") or "")
    assert 200 == client.pay(gateway, client.payment()).status


def test_sg_04_the_journal_says_how_the_sender_was_proven(gateway: Gateway, server: Server, client: Client) -> None:
    paid = client.pay(gateway, client.payment())
    signed = gateway.h1(ACCOUNT, client.signed("GET", ACCOUNT), host=HOST)
    lines = [line for file in server.journal.glob("segment-*.ndjson") for line in file.read_text().splitlines()]
    decisions = [found for line in lines if (found := json.loads(line)["event"].get("decision"))]
    proofs = {found["decision_id"]: found.get("sender_proofs") for found in decisions}
    found = [proofs[answer.header("x-authz-decision-id") or ""] for answer in (paid, signed)]
    assert [["signed_body"], ["message_signature"]] == found


def test_sg_04_of_many_copies_at_once_one_passes(gateway: Gateway, client: Client) -> None:
    body = client.payment()
    with ThreadPoolExecutor(8) as pool:
        statuses = [*pool.map(lambda _: client.pay(gateway, body).status, range(16))]
    assert [200] + [403] * 15 == sorted(statuses)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": f"https://{HOST}/payments/other"},
        {"iss": "another-organisation"},
        {"iat": 1_700_000_000},
        {"iat": 4_000_000_000},
        {"jti": None},
    ],
)
def test_sg_04_a_payment_for_another_endpoint_sender_or_time_is_a_400(
    gateway: Gateway, client: Client, claims: Mapping[str, Any]
) -> None:
    answer = client.pay(gateway, client.payment(**claims))
    assert (400, "signed_body_invalid") == outcome(gateway, answer)
    assert "BAD_SIGNATURE" == answer.json["errors"][0]["code"]


def test_sg_04_a_payment_that_was_tampered_with_or_comes_from_another_client_is_a_400(
    gateway: Gateway, client: Client
) -> None:
    head, payload, signature = client.payment().split(b".")
    changed = [
        client.pay(gateway, b".".join([head, payload, signature[:-4] + b"AAAA"])),
        client.pay(gateway, b".".join([head, client.payment().split(b".")[1], signature])),
        client.pay(gateway, b'{"amount": "12.50"}'),
        client.pay(gateway, b""),
        client.pay(gateway, client.payment(), authorization=f"Bearer {client.other}"),
        client.pay(gateway, client.payment(), **{"content-type": "application/json"}),
    ]
    assert [(400, "signed_body_invalid")] * len(changed) == [outcome(gateway, answer) for answer in changed]
