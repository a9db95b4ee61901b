"""Bundles whose answers name their revision, in every part of an answer that a different room makes.

Revision N lets `/parity/<N % 2>` pass and refuses the other; names of rules, a constant in the policy and a value in a
data file are N. An answer that was made of two revisions cannot agree with itself.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from msgspec import Struct

HOST = "changes.bank.example"
FREEZABLE = "/frozen"  # passes in every revision, unless it is frozen
_BUNDLE = """apiVersion: extauthz.io/v1
kind: Bundle
metadata: {{name: changes}}
spec: {{revision: change-{number}}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: changes}}
spec:
  match: {{hosts: [{host}]}}
  authentication: {{mode: required, issuers: [keycloak]}}
"""
_POLICIES = """apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: lets-pass}}
spec:
  effect: allow
  match: {{hosts: [{host}]}}
  rules:
  - name: yes-{number}
    from: [{{roles: [banking-officer]}}]
    to: [{{methods: [GET], paths: [/parity/{mine}, {freezable}]}}]
    obligations:
      clientHeaders: {{x-policy: "'{number}'", x-data: "data.change.number"}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: refuses}}
spec:
  effect: deny
  match: {{hosts: [{host}]}}
  rules:
  - name: no-{number}
    to: [{{methods: [GET], paths: [/parity/{other}]}}]
"""
_TEST = """apiVersion: extauthz.io/v1
kind: PolicyTest
metadata: {{name: parity}}
spec:
  cases:
  - name: its own parity passes
    request: {{host: {host}, path: /parity/{mine}}}
    token: {{issuer: keycloak, claims: {{realm_access: {{roles: [banking-officer]}}, tenant_id: acme}}}}
    expect: {{outcome: allow, policy: lets-pass, rule: yes-{number}}}
  - name: the other does not
    request: {{host: {host}, path: /parity/{other}}}
    token: {{issuer: keycloak, claims: {{realm_access: {{roles: [banking-officer]}}, tenant_id: acme}}}}
    expect: {{outcome: deny, policy: refuses, rule: no-{number}}}
"""


def documents(number: int) -> dict[str, str]:
    """The files of revision `number`, beside the issuer."""
    values = {"number": number, "host": HOST, "mine": number % 2, "other": 1 - number % 2, "freezable": FREEZABLE}
    texts = {"bundle.yaml": _BUNDLE, "policies.yaml": _POLICIES, "tests/parity.yaml": _TEST}
    found = {name: text.format(**values) for name, text in texts.items()}
    return {**found, "data/change.yaml": f"number: '{number}'\n"}


class Site:
    """A directory that always holds one revision whole: a link that is replaced, as git-sync does."""

    def __init__(self, root: Path, issuers: str) -> None:
        self._root, self._issuers = root, issuers
        self.current = root / "current"
        root.mkdir(parents=True)

    def publish(self, number: int) -> None:
        """Put it in the place of the one before."""
        directory = self._root / f"revision-{number}"
        for name, text in {**documents(number), "issuers.yaml": self._issuers}.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8")
        fresh = self._root / "fresh"
        fresh.symlink_to(directory.name)
        os.replace(fresh, self.current)  # noqa: PTH105 - the link itself, not where it leads
        shutil.rmtree(self._root / f"revision-{number - 3}", ignore_errors=True)


class Line(Struct, frozen=True):
    """One request, as Envoy's access log has it."""

    path: str
    response_code: int
    decision_id: str | None = None
    outcome: str | None = None
    reason: str | None = None
    policy: str | None = None
    rule: str | None = None
    revision: str | None = None
    x_policy: str | None = None  # what the client got
    x_data: str | None = None


# What Envoy is to log beside what the demo's does.
LOGGED = {"x_policy": "%RESP(X-POLICY)%", "x_data": "%RESP(X-DATA)%"}


def log_more(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the demo's Envoy, logging what the client got."""
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"][0]["typed_config"]["log_format"]["json_format"] |= LOGGED
    return config


def wrong_with(line: Line) -> str:
    """What does not fit the revision that the line names; "" when everything does."""
    number = (line.revision or "").removeprefix("change-")
    if not number.isdigit():
        return f"{line.response_code} by no revision: {line.reason}"
    mine = f"/parity/{int(number) % 2}"
    if line.response_code == 200:  # noqa: PLR2004 - OK
        expected = ("allow", "lets-pass", f"yes-{number}", number, number)
        found = (line.outcome, line.policy, line.rule, line.x_policy, line.x_data)
        allowed = line.path in {mine, FREEZABLE}
    elif line.path == FREEZABLE:
        expected, found, allowed = (
            (403, "deny", "emergency_denied"),
            (line.response_code, line.outcome, line.reason),
            True,
        )
    else:
        expected = (403, "deny", "policy_denied", "refuses", f"no-{number}")
        found = (line.response_code, line.outcome, line.reason, line.policy, line.rule)
        allowed = line.path != mine
    if not allowed:
        return f"{line.path} got {line.response_code} by revision {number}"
    return "" if found == expected else f"{line.path} by revision {number}: {found}, not {expected}"
