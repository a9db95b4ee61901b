"""docs/introspection.md: its documents load and its cases pass."""

import re
from pathlib import Path

from extauthz.bundle import read_bundle, run_tests
from extauthz.model.ports import NoTokenCache
from extauthz.settings import Settings, load_settings

PAGE = (Path(__file__).parents[3] / "docs" / "introspection.md").read_text(encoding="utf-8")
ISSUER, CONFIG, CASES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
REST = """
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.bank.example]}
  authentication: {issuers: [bank]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules:
  - name: read
    from: [{scopes: [accounts]}]
---
apiVersion: extauthz.io/v1
kind: PolicyTest
metadata: {name: page}
spec:
"""


def test_the_pages_documents_load_and_its_cases_pass() -> None:
    text = ISSUER + REST + "".join(f"  {line}\n" for line in CASES.splitlines())
    results = run_tests(read_bundle({"bundle.yaml": text.encode()}, NoTokenCache()))
    assert [(result.case, ()) for result in results] == [(result.case, result.differences) for result in results]
    assert 3 == len(results)


def test_the_pages_settings_are_read(tmp_path: Path) -> None:
    file = tmp_path / "extauthz.yaml"
    file.write_text(CONFIG)
    settings: Settings = load_settings(file, {}, ())
    assert "accounts-rs" == settings.introspection.clients["bank"].client_id
