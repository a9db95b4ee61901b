"""A small valid bundle, to be changed one place at a time."""

from collections.abc import Mapping

from extauthz.bundle.coverage import Coverage
from extauthz.bundle.trial import Trial

BUNDLE = """\
apiVersion: extauthz.io/v1
kind: Bundle
metadata: {name: small}
spec: {revision: small-1}
"""

ISSUER = """\
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec:
  issuer: https://idp.bank.test
  audiences: [bank]
  algorithms: [ES256]
  jwks: {uri: "https://idp.bank.test/certs"}
  claims: {tenant: tenant_id, roles: [roles]}
"""

PROFILE = """\
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.bank.test], paths: ["/api/**"]}
  authentication: {mode: required, issuers: [bank]}
  tenancy:
    resourceTenant:
    - path: "/api/{tenant}/**"
"""

TENANCY = """\
apiVersion: extauthz.io/v1
kind: Tenancy
metadata: {name: tenants}
spec: {tenants: data.tenants}
"""

POLICY = """\
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: staff}
spec:
  effect: allow
  match: {hosts: [api.bank.test]}
  rules:
  - name: read
    from:
    - roles: [officer]
    to:
    - methods: [GET]
      paths: ["/api/{tenant}/accounts/**"]
    condition: subject.claims.limit >= 10
"""

TEST = """\
apiVersion: extauthz.io/v1
kind: PolicyTest
metadata: {name: staff}
spec:
  cases:
  - name: an officer reads
    request: {host: api.bank.test, path: /api/acme/accounts/1}
    token: {issuer: bank, claims: {tenant_id: acme, roles: [officer], limit: 10}}
    expect: {outcome: allow, policy: staff, rule: read, tenant: acme}
"""

FILES: Mapping[str, str] = {
    "bundle.yaml": BUNDLE,
    "issuer.yaml": ISSUER,
    "profile.yaml": PROFILE,
    "tenancy.yaml": TENANCY,
    "policy.yaml": POLICY,
    "tests/staff.yaml": TEST,
    "data/tenants.yaml": "acme: {region: eu}\nglobex: {region: us}\n",
}


def files(**changes: str | None) -> dict[str, bytes]:
    """The files with some replaced, added or (None) removed; `__` in a name stands for `/`, the ending is `.yaml`."""
    named = {f"{name.replace('__', '/')}.yaml": text for name, text in changes.items()}
    return {name: text.encode() for name, text in {**FILES, **named}.items() if text is not None}


def changed(name: str, old: str, new: str) -> dict[str, bytes]:
    """The files with one text replaced in one of them."""
    assert FILES[name].count(old) == 1, f"`{old}` must be in {name} once"
    return {**files(), name: FILES[name].replace(old, new).encode()}


def covered(bundle: Mapping[str, bytes]) -> Coverage:
    """What the bundle's own cases show of its rules."""
    trial = Trial(bundle)
    return trial.coverage([trial.run(number) for number in range(len(trial.bench.cases))])
