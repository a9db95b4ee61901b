"""Documents that tests of many rooms put into their bundles; what a test is about stands in the test itself."""

OPEN = """
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: open}
spec:
  match: {hosts: [open.test], paths: [/**]}
  authentication: {mode: none}
"""
# Whoever asks open.test may read /public/**.
PUBLIC = f"""{OPEN}---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: readers}}
spec:
  effect: allow
  rules:
  - name: read
    to: [{{methods: [GET], paths: [/public/**]}}]
"""
# A policy for whoever has this scope.
ACCOUNTS = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules: [{name: scope, from: [{scopes: [accounts]}]}]
"""
# Of a bank whose tokens tests sign (`engine.Engine.sign`) with no more claims than they are about.
SIGNED = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec: {preset: rfc9068, issuer: "https://idp.test", jwks: {uri: "https://idp.test/c"}, audiences: [bank], requireClaims: []}
"""
_INTROSPECTED = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec:
  issuer: https://login.bank.test
  audiences: [accounts]
  introspection: {endpoint: "ENDPOINT"MORE}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [HOST], paths: [/**]}
  authentication: {issuers: [bank]}
"""


def introspected(endpoint: str, more: str = "only: true", host: str = "api.test") -> str:
    """A bank whose opaque tokens are asked about at `endpoint`, and a profile that accepts them."""
    return (
        _INTROSPECTED.replace("ENDPOINT", endpoint).replace("MORE", f", {more}" if more else "").replace("HOST", host)
    )
