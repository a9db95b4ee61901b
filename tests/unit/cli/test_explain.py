"""`extauthz bundle explain`: every step of a decision, what each rule wanted, and nothing that should stay secret."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extauthz.cli import main
from extauthz.cli.check_steps import ENDS
from extauthz.model.reasons import Reason

BANKING = str(Path(__file__).parents[3] / "examples" / "banking")
NOW = ("--now", "2026-01-31T12:00:00Z")
OFFICER = {
    "sub": "u1",
    "tenant_id": "acme",
    "realm_access": {"roles": ["banking-officer"]},
    "scope": "payments",
    "limit": 1000,
}
PAYMENTS = "https://api.banking.local/api/payments"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bundle", "explain", BANKING, *NOW, *arguments])


def explained(*arguments: str) -> dict[str, object]:
    result = run("--format", "json", *arguments)
    assert result.exit_code in {0, 1}, result.output
    return json.loads(result.stdout)


def ended(found: dict[str, object]) -> dict[str, str]:
    """By step: its result."""
    return {step["name"]: step["result"] for step in found["steps"]}  # type: ignore[index, attr-defined]


def test_the_part_of_a_condition_that_failed_is_named_with_what_it_read() -> None:
    said = run("-X", "POST", f"{PAYMENTS}?amount=5000", "--claims", json.dumps(OFFICER)).stdout
    assert "+ has(subject.claims.limit): true" in said
    assert (
        "- int(request.query.amount) <= int(subject.claims.limit): false, found request.query.amount = 5… (4 characters); "
        "subject.claims.limit = 1… (4 characters)"
    ) in said
    assert "int(request.query.amount) <= data.tenants[resource.tenant].paymentCap: not reached" in said
    assert (
        "where this does not match: condition (`int(request.query.amount) <= int(subject.claims.limit)`: false)" in said
    )


def test_what_a_rule_wanted_stands_beside_what_was_found() -> None:
    clerk = {**OFFICER, "realm_access": {"roles": ["clerk"]}}
    said = run("-X", "POST", f"{PAYMENTS}?amount=5", "--claims", json.dumps(clerk)).stdout
    assert "- from[0].roles: no match, found clerk, wanted banking-admin, banking-manager, banking-officer" in said
    assert "rules that were tried (13 more speak about something else)" in said


def test_values_that_identify_somebody_are_masked_everywhere() -> None:
    claims = {**OFFICER, "sub": "alice-the-secret", "limit": 987654321}
    for form in ("text", "json"):
        said = run(
            "--format", form, "-X", "POST", f"{PAYMENTS}?amount=123456789", "--claims", json.dumps(claims)
        ).stdout
        shown = said.replace("keycloak/alice-the-secret", "").replace(
            '"alice-the-secret"', ""
        )  # the answer's own headers
        assert "987654321" not in shown.replace("x-payment-limit: 987654321", "").replace('"987654321"', "")
        assert "123456789" not in shown


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (("https://api.banking.local/api//x",), "request"),
        (("https://other.local/",), "profile"),
        (("https://api.banking.local/API/loans",), "profile"),
        (("https://api.banking.local/open-banking/acme/accounts", "-H", "x-fapi-interaction-id: x"), "headers"),
        ((PAYMENTS,), "identity"),
        (("https://secure.banking.local/open-banking/acme/accounts", "--claims", json.dumps(OFFICER)), "sender"),
        ((PAYMENTS, "-H", "x-tenant-id: globex", "--claims", json.dumps(OFFICER)), "tenancy"),
        (("https://api.banking.local/open-banking/acme/accounts", "--claims", json.dumps(OFFICER)), "financial id"),
        (
            ("https://api.banking.local/open-banking/acme/accounts", "-H", "x-fapi-financial-id: 00", "--claims", json.dumps(OFFICER)),
            "financial id",
        ),
        (("https://api.banking.local/api/loans", "--claims", json.dumps(OFFICER)), "policies"),
    ],
)  # fmt: skip
def test_the_step_that_ended_it_is_told_and_none_behind_it(arguments: tuple[str, ...], step: str) -> None:
    results = ended(explained(*arguments))
    names = list(results)
    assert [step] == [name for name, result in results.items() if result == "ended here"]
    assert set(list(results.values())[: names.index(step)]) <= {"passed", "not asked for"}
    assert set(list(results.values())[names.index(step) + 1 :]) <= {"not reached", "not asked for"}


def test_an_allowed_request_has_passed_every_step_that_was_asked_for() -> None:
    found = explained("-X", "POST", f"{PAYMENTS}?amount=5", "--claims", json.dumps(OFFICER))
    assert ("allow", {"passed", "not asked for"}) == (found["outcome"], set(ended(found).values()))


def test_a_connection_without_http_has_four_steps(tmp_path: Path) -> None:
    file = tmp_path / "tcp.json"
    file.write_text(json.dumps({"attributes": {"source": {"principal": "spiffe://a/ns/b/sa/c"}, "request": {}}}))
    assert {"request": "passed", "freeze": "passed", "revocation": "passed", "policies": "ended here"} == ended(
        explained("--request", str(file))
    )


def test_what_rules_wanted_of_a_connection_without_http_is_told_too(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BANKING, bundle)
    (bundle / "tcp.yaml").write_text(
        "apiVersion: extauthz.io/v1\nkind: AccessPolicy\nmetadata: {name: ledger}\nspec:\n  effect: allow\n"
        "  rules: [{name: from-batch, from: [{principals: [a/ns/batch/sa/nightly]}], to: [{ports: [5432]}]}]\n"
    )
    file = tmp_path / "tcp.json"
    source = {"principal": "spiffe://a/ns/b/sa/c"}
    file.write_text(json.dumps({"attributes": {"source": source, "request": {}}}))
    said = CliRunner().invoke(main, ["bundle", "explain", str(bundle), *NOW, "--request", str(file)]).stdout
    assert "the closest is `ledger/from-batch`" in said
    assert "from[0].principals: no match, found spiffe://a/ns/b/sa/c, wanted spiffe://a/ns/batch/sa/nightly" in said


def test_flags_a_url_and_check_say_the_same(tmp_path: Path) -> None:
    claims = tmp_path / "claims.json"
    claims.write_text(json.dumps(OFFICER))
    by_url = explained("-X", "POST", f"{PAYMENTS}?amount=5", "--claims", json.dumps(OFFICER))
    by_flags = explained(
        *("--method", "POST", "--host", "api.banking.local", "--path", "/api/payments?amount=5"),
        *("--header", "x-a: b", "--token-claims", f"@{claims}"),
    )
    assert by_url == by_flags
    arguments = ["check", "--bundle", BANKING, *NOW, "--format", "json", "-X", "POST", f"{PAYMENTS}?amount=5", "--claims", f"@{claims}"]  # fmt: skip
    assert by_url == json.loads(CliRunner().invoke(main, arguments).stdout)
    plain = [*arguments, "--format", "text"]
    assert "\nsteps\n" in CliRunner().invoke(main, [*plain, "--explain"]).stdout
    assert "\nsteps\n" not in CliRunner().invoke(main, plain).stdout


def test_every_reason_ends_at_a_step_that_is_known() -> None:
    """A new reason needs a place in the table, or one of these lists."""
    request = {
        "REQUEST_MALFORMED",
        "HOST_INVALID",
        "METHOD_INVALID",
        "HEADER_REPEATED",
        "FORWARDED_CERTIFICATE_INVALID",
    }
    server = {
        "NO_BUNDLE",
        "BUNDLE_TOO_OLD",
        "JOURNAL_UNAVAILABLE",
        "OVERLOADED",
        "DEADLINE_EXCEEDED",
        "DRAINING",
        "INTERNAL_ERROR",
    }
    identity = {reason.name for reason in Reason if reason.name.startswith(("TOKEN_", "CREDENTIAL_", "SERVICE_"))}
    identity |= {"NO_CREDENTIAL", "SCHEME_UNSUPPORTED", "ROLES_INVALID", "TENANT_CLAIM_INVALID", "KEYS_UNAVAILABLE"}
    identity |= {"INTROSPECTION_UNAVAILABLE"}
    listed = [reason.name for reasons in ENDS.values() for reason in reasons]
    assert len(listed) == len(set(listed))
    left = {reason.name for reason in Reason} - set(listed) - request - server - identity
    assert {"PATH_AMBIGUOUS"} == left  # three places, told apart by how far the evidence goes
