"""`extauthz bundle import-istio` on a bank's mesh: the bundle lints, decides as the mesh did, and exit codes fit pipelines."""

import json
import time
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result

from extauthz.cli import main
from extauthz.wire import InboundOptions
from tests.engine import RSA_KEY, Answer, Engine, load

MESH = Path(__file__).parents[1] / "mesh" / "bank" / "mesh.yaml"
CUSTOMERS, STAFF = "https://login.bank.example/realms/customers", "https://login.bank.example/realms/staff"
GATEWAY = "spiffe://cluster.local/ns/istio-ingress/sa/public-gateway"
OFFICE = "spiffe://cluster.local/ns/backoffice/sa/desk"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bundle", "import-istio", *map(str, arguments)])


def run_bank(out: Path, *more: object) -> Result:
    return run(MESH, "--namespace", "banking", "--label", "app=accounts", "--out", out, *more)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    out = tmp_path_factory.mktemp("bank") / "bundle"
    assert 0 == run_bank(out).exit_code
    return Engine(load(out), InboundOptions(xff_trusted_hops=1))


def ask(
    bank: Engine, path: str, claims: dict | None = None, *, method: str = "GET", peer: str = "", **headers: str
) -> Answer:
    token = None
    if claims is not None:
        now = int(time.time())
        token = jwt.encode(
            {"iat": now, "exp": now + 60, "aud": "accounts", "sub": "u1", **claims}, RSA_KEY, "RS256", {"kid": "k1"}
        )
    named = {"x-forwarded-for": "10.0.0.7"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return bank.ask(path, method=method, host="accounts", token=token, headers=named, principal=peer)


CUSTOMER = {"iss": CUSTOMERS, "scope": "openid accounts.read", "customer_id": "c-17"}
OFFICER = {"iss": STAFF, "realm_access": {"roles": ["officer"]}}


@pytest.mark.parametrize(
    ("path", "claims", "peer", "method", "allowed"),
    [
        ("/accounts/17", CUSTOMER, GATEWAY, "GET", True),
        ("/accounts/17/balances", CUSTOMER, GATEWAY, "HEAD", True),
        ("/statements-2026?page=2", CUSTOMER, GATEWAY, "GET", True),
        ("/accounts/17/owners", CUSTOMER, GATEWAY, "GET", False),
        ("/accounts/17/", CUSTOMER, GATEWAY, "GET", False),
        ("/accounts/17", CUSTOMER, GATEWAY, "POST", False),
        ("/accounts/17", {**CUSTOMER, "scope": "accounts"}, GATEWAY, "GET", False),
        ("/accounts/17", CUSTOMER, OFFICE, "GET", False),
        ("/accounts/17", None, GATEWAY, "GET", False),
        ("/accounts/17", {**CUSTOMER, "aud": "loans"}, GATEWAY, "GET", False),
        ("/accounts/17/close", OFFICER, OFFICE, "POST", True),
        ("/accounts/frozen/17", OFFICER, OFFICE, "GET", False),
        ("/accounts/17", {**OFFICER, "realm_access": {"roles": ["clerk"]}}, OFFICE, "GET", False),
        ("/accounts/17/internal", OFFICER, OFFICE, "GET", False),
        ("/healthz", None, "spiffe://cluster.local/ns/monitoring/sa/probe", "GET", True),
        ("/healthz", None, "spiffe://cluster.local/ns/web/sa/x", "GET", False),
        ("/healthz", None, "", "GET", False),
    ],
)  # fmt: skip
def test_the_imported_bundle_decides_as_the_mesh_did(
    bank: Engine, path: str, claims: dict | None, peer: str, method: str, allowed: bool
) -> None:
    assert allowed == ask(bank, path, claims, method=method, peer=peer).allowed


def test_a_claim_goes_to_upstreams_and_the_token_does_not(bank: Engine) -> None:
    answer = ask(bank, "/accounts/17", CUSTOMER, peer=GATEWAY, x_customer="forged")
    assert "c-17" == answer.set_upstream["x-customer"]
    assert "authorization" in answer.removed_upstream


def test_a_deny_of_the_root_namespace_applies(bank: Engine) -> None:
    """Old clients, but not those whose address is the bank's own."""
    outside = {"x_forwarded_for": "192.0.2.1", "user_agent": "curl/8.5 (x, y)"}
    assert not ask(bank, "/accounts/17", CUSTOMER, peer=GATEWAY, **outside).allowed
    assert ask(bank, "/accounts/17", CUSTOMER, peer=GATEWAY, user_agent="curl/8.5").allowed


def test_audits_and_dry_runs_are_recorded(bank: Engine) -> None:
    decision = ask(bank, "/statements/1", CUSTOMER, peer=GATEWAY).decision
    assert ["banking.who-reads-statements"] == [each.policy for each in decision.evidence.shadow]


def test_what_is_written_lints_and_says_where_it_is_from(tmp_path: Path) -> None:
    result = run_bank(tmp_path / "bundle")
    assert 0 == result.exit_code
    assert "0 lost, 0 narrower" in result.output
    assert "not for this workload: AuthorizationPolicy banking/loans" in result.output
    lint = CliRunner().invoke(main, ["bundle", "lint", str(tmp_path / "bundle")])
    assert (0, True) == (lint.exit_code, "0 errors" in lint.output)
    written = sorted(str(path.relative_to(tmp_path / "bundle")) for path in (tmp_path / "bundle").rglob("*.yaml"))
    assert ["bundle.yaml", "profile.yaml", "policies/banking.accounts.yaml"] == [
        name for name in ("bundle.yaml", "profile.yaml", "policies/banking.accounts.yaml") if name in written
    ]
    assert (
        (tmp_path / "bundle/policies/banking.accounts.yaml")
        .read_text()
        .startswith("# AuthorizationPolicy banking/accounts\n")
    )


def test_the_report_as_json(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(LOST)
    result = run(tmp_path / "mesh.yaml", "--no-labels", "--json")
    assert 1 == result.exit_code
    report = json.loads(result.output)
    assert (False, False, None) == (report["ok"], report["written"], report["out"])
    (lost,) = [each for each in report["changes"] if each["kind"] == "lost"]
    assert (9, "spec.rules[0].when[0].key", "AuthorizationPolicy banking/p", True) == (
        lost["line"],
        lost["field"],
        lost["document"],
        lost["denial"],
    )
    assert lost["message"]
    assert lost["instead"]
    assert report["always"]


LOST = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: banking}
spec:
  action: DENY
  rules:
  - to: [{operation: {methods: [POST]}}]
    when:
    - key: experimental.envoy.filters.http.lua[tier]
      values: [gold]
"""


def test_a_lost_denial_writes_nothing_without_leave(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(LOST)
    result = run(tmp_path / "mesh.yaml", "--no-labels", "--out", tmp_path / "bundle")
    assert 1 == result.exit_code
    assert (
        "mesh.yaml:9: spec.rules[0].when[0].key: `experimental.envoy.filters.http.lua[tier]` is not known"
        in result.output
    )
    assert "nothing was written" in result.stderr
    assert not (tmp_path / "bundle").exists()
    more = run(tmp_path / "mesh.yaml", "--no-labels", "--out", tmp_path / "bundle", "--deny-more")
    assert 1 == more.exit_code, "it is still not what it was"
    assert not Engine(load(tmp_path / "bundle")).ask(method="POST", host="a").allowed
    assert Engine(load(tmp_path / "bundle")).ask(method="GET", host="a").allowed


def test_strict_writes_only_what_is_whole(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(LOST.replace("DENY", "ALLOW"))
    strict = run(tmp_path / "mesh.yaml", "--no-labels", "--out", tmp_path / "bundle", "--strict")
    assert (1, False) == (strict.exit_code, (tmp_path / "bundle").exists())
    loose = run(tmp_path / "mesh.yaml", "--no-labels", "--out", tmp_path / "bundle")
    assert (1, True) == (loose.exit_code, (tmp_path / "bundle").exists())
    assert not Engine(load(tmp_path / "bundle")).ask(method="POST", host="a").allowed, "the rule is left out"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.yaml"], "no such file"),
        ([MESH], "say its labels with `--label`"),
        ([MESH, "--namespace", "banking"], "say its labels with `--label`"),
        ([MESH, "--namespace", "banking", "--label", "app"], "`app` must be `NAME=VALUE`"),
        ([MESH, "--namespace", "banking", "--label", "a=b", "--no-labels"], "exclude each other"),
        ([MESH, "--no-labels", "--name", "My Bank"], "`My Bank` must be 1 to 63 lower-case letters"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_and_wrong_input_end_with_2(arguments: list[object], words: str) -> None:
    result = run(*arguments)
    assert 2 == result.exit_code
    assert words in result.output


def test_an_empty_directory_and_a_directory_in_use_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert 2 == run(tmp_path / "in").exit_code
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.yaml").write_text("")
    result = run_bank(tmp_path / "out")
    assert (2, True) == (result.exit_code, "exists and is not empty" in result.output)
    assert ["old.yaml"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_a_directory_that_cannot_be_written_ends_with_4_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert 4 == run_bank(tmp_path / "file" / "bundle").exit_code
    assert ["file"] == [path.name for path in tmp_path.iterdir()]


def test_files_may_be_directories(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "mesh.yaml").write_bytes(MESH.read_bytes())
    result = run(tmp_path / "in", "--namespace", "banking", "--label", "app=accounts")
    assert (0, False) == (result.exit_code, "written" in result.output)
