"""Services in their own name, and beside a user: by the SPIFFE identity of the peer, exactly."""

import pytest
from msgspec.structs import replace

from extauthz.identity import AuthenticationSpec, Identified, compile_authentication, identify
from extauthz.identity.authentication import Authentication
from extauthz.identity.document import ServiceSpec, ServiceTenantSpec
from extauthz.model.decision import Deny, Undecided
from extauthz.model.ports import NoTokenCache
from extauthz.model.problems import Problem
from extauthz.model.request import ForwardedCertificate, Peer
from extauthz.model.subject import ANONYMOUS, SERVICE, Subject
from tests.fakes import a_request
from tests.unit.identity.tokens import BANK, BANK_KEYS, NOW, claims, sign

BATCH = "spiffe://cluster.local/ns/acme/sa/batch"
GATEWAY = "spiffe://cluster.local/ns/istio-system/sa/gateway"
LOCAL = ServiceSpec(mode="instead", trust_domains=("cluster.local",))
BESIDE = replace(LOCAL, mode="required")


def rules(service: ServiceSpec, mode: str = "required", *, issuers: bool = True) -> Authentication:
    problems: list[Problem] = []
    spec = AuthenticationSpec(mode=mode, issuers=["bank"] if issuers else [], service=service)
    compiled = compile_authentication(spec, {"bank": BANK}, problems, ("spec", "authentication"))
    assert [] == problems
    assert compiled is not None
    return compiled


def ask(
    authentication: Authentication,
    principal: str = "",
    credential: str = "",
    forwarded: str | None = None,
    hop: int = 2,
) -> Subject | str:
    headers = [("authorization", credential)] if credential else []
    request = a_request(headers=headers, source=Peer(principal=principal))
    if forwarded is not None:
        request = replace(request, forwarded=ForwardedCertificate(hash="0" * 64, uri=forwarded, hop=hop))
    found = identify(request, authentication, BANK_KEYS, NoTokenCache(), NOW)
    if isinstance(found, Identified):
        return found.subject
    assert isinstance(found, Deny | Undecided)
    return f"{found.reason.code} {found.check}"


def who(found: Subject | str) -> str:
    return found if isinstance(found, str) else found.id


def bearer() -> str:
    return f"Bearer {sign(claims())}"


def test_si_01_a_service_without_a_user_is_a_subject_of_its_own() -> None:
    found = ask(rules(LOCAL), BATCH)

    assert Subject("spiffe://cluster.local", BATCH, SERVICE) == found
    assert isinstance(found, Subject)
    assert (False, False) == (found.is_anonymous, found.has_token)


def test_si_01_an_empty_principal_is_an_anonymous_peer() -> None:
    assert "service_identity_missing SI-01" == ask(rules(LOCAL, issuers=False))
    assert "no_credential EX-01" == ask(rules(LOCAL))
    assert ANONYMOUS == ask(rules(LOCAL, "optional"))
    assert "service_identity_missing SI-01" == ask(rules(BESIDE), credential=bearer())


def test_si_01_instead_means_instead_of_a_token_so_a_token_that_is_sent_counts() -> None:
    assert "alice" == who(ask(rules(LOCAL), BATCH, bearer()))
    assert "token_malformed JWT-01" == ask(rules(LOCAL), BATCH, "Bearer x")
    assert "token_issuer_refused JWT-07" == ask(rules(LOCAL, issuers=False), BATCH, bearer())


def test_si_01_required_means_user_and_service_both() -> None:
    assert "alice" == who(ask(rules(BESIDE), BATCH, bearer()))
    assert "no_credential EX-01" == ask(rules(BESIDE), BATCH)
    assert "service_identity_missing SI-01" == ask(rules(BESIDE))
    assert "service_identity_refused SI-02" == ask(rules(BESIDE), "spiffe://other.test/ns/a/sa/b", bearer())


@pytest.mark.parametrize(
    "principal",
    [
        "spiffe://evil.test/ns/acme/sa/batch",
        "spiffe://cluster.local.evil.test/ns/acme/sa/batch",
        "spiffe://xcluster.local/ns/acme/sa/batch",
        "SPIFFE://cluster.local/ns/acme/sa/batch",
        "spiffe://Cluster.local/ns/acme/sa/batch",
        "cluster.local/ns/acme/sa/batch",
        "https://cluster.local/ns/acme/sa/batch",
        "spiffe:/cluster.local/ns/acme",
        "spiffe://cluster.local",
        "spiffe://cluster.local/",
        "spiffe://cluster.local/ns//sa/batch",
        "spiffe://cluster.local/ns/../sa/batch",
        "spiffe://cluster.local/ns/acme/sa/batch/",
        "spiffe://cluster.local/ns/acme/sa/batch\n",
        "spiffe://cluster.local/ns/acme/sa/b%61tch",
        "spiffe://cluster.local/ns/acme/sa/batch?x=1",
        "spiffe://user@cluster.local/ns/acme",
        "spiffe://cluster.local:443/ns/acme",
        "spiffe://cluster.local/ns/acme/sa/b\u00e4tch",
        " spiffe://cluster.local/ns/acme/sa/batch",
        "spiffe://cluster.local/" + "a" * 2048,
        "CN=batch,O=acme",
        "batch.acme.svc",
    ],
)
@pytest.mark.parametrize("service", [LOCAL, BESIDE], ids=["instead", "required"])
def test_si_02_t32_only_an_exact_spiffe_id_of_a_listed_trust_domain_is_a_service(service, principal):
    assert "service_identity_refused SI-02" == ask(rules(service), principal)


def test_si_03_t31_a_forwarded_identity_counts_only_behind_proxies_that_are_named() -> None:
    behind = replace(LOCAL, forwarded_by=(GATEWAY,))

    assert BATCH == who(ask(rules(behind), GATEWAY, forwarded=BATCH))
    assert BATCH == who(ask(rules(behind), BATCH, forwarded="spiffe://cluster.local/ns/root/sa/admin"))
    assert GATEWAY == who(ask(rules(LOCAL), GATEWAY, forwarded=BATCH))
    assert "service_identity_missing SI-01" == ask(rules(replace(behind), issuers=False), forwarded=BATCH)


@pytest.mark.parametrize(
    ("forwarded", "refused"),
    [
        (None, "service_identity_missing SI-03"),
        ("", "service_identity_missing SI-03"),
        (GATEWAY, "service_identity_refused SI-03"),
        ("spiffe://evil.test/ns/acme/sa/batch", "service_identity_refused SI-02"),
    ],
)
def test_si_03_a_proxy_never_stands_in_for_its_client(forwarded, refused):
    behind = replace(LOCAL, forwarded_by=(GATEWAY,))

    assert refused == ask(rules(behind, issuers=False), GATEWAY, forwarded=forwarded)


@pytest.mark.parametrize(
    ("principal", "tenant"),
    [
        (BATCH, "acme"),
        ("spiffe://cluster.local/ns/globex/sa/batch", "globex"),
        ("spiffe://cluster.local/ns/shared/sa/mailer", "acme"),
        ("spiffe://cluster.local/ns/globex/sa/a/b", ""),
        ("spiffe://partner.test/ns/globex/sa/batch", ""),
    ],
)
def test_si_02_the_tenant_of_a_service_comes_from_the_first_mapping_that_covers_it(principal, tenant):
    spec = ServiceSpec(
        mode="instead",
        trust_domains=("cluster.local", "partner.test"),
        tenants=(
            ServiceTenantSpec(principal="spiffe://cluster.local/ns/shared/**", tenant="acme"),
            ServiceTenantSpec(principal="spiffe://cluster.local/ns/{tenant}/sa/*"),
        ),
    )
    found = ask(rules(spec), principal)

    assert isinstance(found, Subject)
    assert tenant == found.tenant


def test_si_03_what_our_own_envoy_says_about_the_proxy_is_not_about_its_client() -> None:
    behind = replace(LOCAL, forwarded_by=(GATEWAY,))

    assert "service_identity_missing SI-03" == ask(rules(behind, issuers=False), GATEWAY, forwarded=BATCH, hop=1)


def _mapping(principal: str, tenant: str = "acme") -> ServiceSpec:
    return replace(LOCAL, tenants=(ServiceTenantSpec(principal=principal, tenant=tenant),))


@pytest.mark.parametrize(
    ("spec", "where", "message"),
    [
        (
            ServiceSpec(trust_domains=("cluster.local",)),
            ("mode",),
            "mode `off` looks at no identity: remove the other fields",
        ),
        (
            ServiceSpec(mode="instead"),
            ("trustDomains",),
            "name the trust domains whose services may call, such as `cluster.local`",
        ),
        (
            replace(LOCAL, trust_domains=("spiffe://cluster.local",)),
            ("trustDomains", 0),
            (
                "`spiffe://cluster.local` is not a trust domain: lower-case letters, digits, `.`, `-` and `_`, "
                "without scheme"
            ),
        ),
        (
            replace(LOCAL, forwarded_by=("spiffe://cluster.local/ns/edge/*",)),
            ("forwardedBy", 0),
            (
                "`spiffe://cluster.local/ns/edge/*` is not a whole SPIFFE ID such as "
                "`spiffe://cluster.local/ns/edge/sa/gateway`"
            ),
        ),
        (
            _mapping("cluster.local/ns/acme/**"),
            ("tenants", 0, "principal"),
            "`cluster.local/ns/acme/**` must be `spiffe://<trust domain>/<path pattern>`",
        ),
        (
            _mapping("spiffe://partner.test/**"),
            ("tenants", 0, "principal"),
            "`partner.test` is not among `trustDomains`, so this never applies",
        ),
        (
            _mapping("spiffe://cluster.local/ns/a*"),
            ("tenants", 0, "principal"),
            "path pattern `/ns/a*`: `*`, `**` and `{name}` must each be a whole segment, found `a*`",
        ),
        (
            _mapping("spiffe://cluster.local/ns/{ns}/sa/*"),
            ("tenants", 0, "principal"),
            "only `{tenant}` can be captured here: write `*` for any other segment",
        ),
        (
            _mapping("spiffe://cluster.local/ns/{tenant}/sa/*"),
            ("tenants", 0, "tenant"),
            "the tenant is either named by `tenant` or captured by `{tenant}` in `principal`",
        ),
        (
            _mapping("spiffe://cluster.local/ns/acme/sa/*", ""),
            ("tenants", 0, "tenant"),
            "the tenant is either named by `tenant` or captured by `{tenant}` in `principal`",
        ),
    ],
)
def test_a_service_section_that_could_not_be_meant_is_reported_where_it_is(spec, where, message):
    problems: list[Problem] = []
    compile_authentication(AuthenticationSpec(issuers=["bank"], service=spec), {"bank": BANK}, problems, ("a",))

    assert [Problem(("a", "service", *where), message)] == problems


def test_mode_none_asks_nobody_not_even_services() -> None:
    problems: list[Problem] = []
    compile_authentication(AuthenticationSpec(mode="none", service=LOCAL), {}, problems, ("a",))

    message = "mode `none` asks nobody who calls: write `required`, and no `issuers` if only services may call"
    assert [Problem(("a", "service", "mode"), message)] == problems
