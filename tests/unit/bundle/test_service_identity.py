"""Services in their own name, from the document to the headers of the upstream."""

import pytest

from extauthz.bundle import BundleError, read_bundle
from extauthz.model.ports import NoTokenCache
from tests.engine import Engine
from tests.unit.bundle.small_bundle import ISSUER, PROFILE, files

BATCH = "spiffe://cluster.local/ns/acme/sa/batch"
SERVICE = """{mode: required, issuers: [bank], service: {mode: instead, trustDomains: [cluster.local],
    tenants: [{principal: "spiffe://cluster.local/ns/{tenant}/sa/*"}]}}"""
POLICY = """\
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: jobs}
spec:
  effect: allow
  rules:
  - name: run
    from: [{issuers: [service], principals: ["cluster.local/ns/*"]}]
    to: [{methods: [POST], paths: ["/api/{tenant}/jobs"]}]
"""


def bundle(authentication: str = SERVICE, policy: str = POLICY, **more: str) -> dict[str, bytes]:
    profile = PROFILE.replace("{mode: required, issuers: [bank]}", authentication)
    return files(profile=profile, policy=policy, tests__staff=None, **more)


def errors(documents: dict[str, bytes]) -> list[str]:
    with pytest.raises(BundleError) as caught:
        read_bundle(documents, NoTokenCache())
    return [str(finding) for finding in caught.value.findings if finding.severity == "error"]


def test_si_01_the_upstream_learns_which_service_calls_for_which_tenant() -> None:
    answer = Engine(bundle()).ask("/api/acme/jobs", method="POST", host="api.bank.test", principal=BATCH)

    assert answer.allowed
    assert (BATCH, "spiffe://cluster.local", "acme") == tuple(
        answer.set_upstream[f"x-auth-{name}"] for name in ("subject", "issuer", "tenant")
    )
    assert {"x-auth-client", "x-auth-roles", "x-auth-scopes"} <= answer.removed_upstream


@pytest.mark.parametrize(
    ("path", "principal", "reason"),
    [
        ("/api/globex/jobs", BATCH, "tenant_mismatch"),
        ("/api/acme/jobs", "spiffe://cluster.local/ns/elsewhere/sa/batch", "tenant_mismatch"),
        ("/api/acme/jobs", "spiffe://cluster.local/other", "tenant_mismatch"),
        ("/api/acme/jobs", "spiffe://evil.test/ns/acme/sa/batch", "service_identity_refused"),
        ("/api/acme/jobs", "", "no_credential"),
    ],
)
def test_si_02_a_service_stays_within_its_tenant_and_its_trust_domain(path, principal, reason):
    answer = Engine(bundle()).ask(path, method="POST", host="api.bank.test", principal=principal)

    assert reason == answer.reason


def test_si_02_a_refused_service_gets_no_challenge() -> None:
    answer = Engine(bundle()).ask(
        "/api/acme/jobs", method="POST", host="api.bank.test", principal="spiffe://evil.test/ns/a/sa/b"
    )

    assert 403 == answer.http_status
    assert "www-authenticate" not in dict(answer.to_client)


def test_the_issuer_name_of_services_is_known_to_policies_only_where_services_may_call() -> None:
    message = "policy.yaml:8: spec.rules[0].from[0].issuers[0]: unknown issuer `service`: allowed are `bank`"

    assert [message] == errors(bundle("{mode: required, issuers: [bank]}"))


def test_no_issuer_can_pass_for_services() -> None:
    issuer = ISSUER.replace("{name: bank}", "{name: service}")
    authentication = SERVICE.replace("[bank]", "[service]")

    assert [
        (
            "issuer.yaml:3: metadata.name: an Issuer cannot be called `service`: that name stands for services in their own "
            "name"
        )
    ] == errors(bundle(authentication, issuer=issuer))


def test_a_service_of_a_tenant_that_does_not_exist_is_reported() -> None:
    authentication = SERVICE.replace(
        '{principal: "spiffe://cluster.local/ns/{tenant}/sa/*"}',
        '{principal: "spiffe://cluster.local/ns/a/**", tenant: acne}',
    )

    assert [
        "profile.yaml:7: spec.authentication.service.tenants[0].tenant: unknown tenant `acne`, did you mean `acme`?"
    ] == errors(bundle(authentication))
