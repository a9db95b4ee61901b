"""docs/message-signatures.md says what the code does: its bundle loads, and its own tests pass."""

import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml

from extauthz.bundle import read_bundle, run_tests
from extauthz.bundle.kinds import SecurityProfileSpec
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from extauthz.telemetry.contract import FAMILIES
from tests.unit.identity.signatures import client_jwks

PAGE = (Path(__file__).parents[3] / "docs" / "message-signatures.md").read_text(encoding="utf-8")
PIECES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
DOCUMENTS = [piece for piece in PIECES if piece.startswith("apiVersion")]
REST = """\
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: keycloak}
spec: {preset: keycloak, issuer: https://idp.bank.test/realms/r, audiences: [bank], algorithms: [ES256]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: third-parties}
spec:
  effect: allow
  rules: [{name: pay, from: [{clients: [tpp-1]}], to: [{methods: [POST], paths: [/transfers, /payments]}]}]
"""


def test_sg_01_sg_04_the_bundle_of_the_page_loads_and_its_tests_pass() -> None:
    (data,) = (piece for piece in PIECES if piece.startswith("# data/organisations.yaml"))
    files = {
        "all.yaml": "---\n".join([REST, *DOCUMENTS]).encode(),
        "data/organisations.yaml": data.encode(),
        "keys/tpp-1.json": json.dumps(client_jwks()).encode(),
    }
    built = read_bundle(files, NoTokenCache())
    assert [] == [str(found) for found in built.warnings if "all.yaml" in str(found)]
    results = run_tests(built)
    assert 4 == len(results)
    assert [()] * 4 == [result.differences for result in results]


def test_the_settings_of_envoy_are_those_that_lint_asks_for() -> None:
    (envoy,) = (yaml.safe_load(piece) for piece in PIECES if piece.startswith("# Envoy"))
    (istio,) = (yaml.safe_load(piece) for piece in PIECES if piece.startswith("# Istio"))
    whole = {"max_request_bytes": 65536, "allow_partial_message": False, "pack_as_bytes": True}
    assert whole == envoy["with_request_body"]
    (provider,) = istio["extensionProviders"]
    asked = provider["envoyExtAuthzGrpc"]["includeRequestBodyInCheck"]
    assert {"maxRequestBytes": 65536, "allowPartialMessage": False, "packAsBytes": True} == asked


def test_reasons_metrics_and_fields_that_the_page_names_exist() -> None:
    codes = {reason.code: reason.status for reason in Reason}
    told = {name: int(status) for name, status in re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", PAGE, re.MULTILINE)}
    assert {"signature_missing", "signature_invalid", "signed_body_invalid", "signed_body_replayed"} < told.keys()
    assert told.items() <= codes.items()
    families = {family.name for family in FAMILIES}
    assert set(re.findall(r"`(extauthz_[a-z_]+)", PAGE)) <= families
    fields = set(re.findall(r"`(messageSignature|signedBody)\.([A-Za-z]+)", PAGE))
    sections = {
        "messageSignature": {"keys": {}},
        "signedBody": {"keys": {}, "organisations": "data.x"},
    }
    usual = {"required": False, "methods": ["POST"], "algorithms": ["PS256"], "audience": [], "once": "perProxy"}
    for section, field in fields:
        spec = {section: {**sections[section], field: usual[field]}}
        match = {"match": {"hosts": ["a.test"]}, "authentication": {"issuers": ["i"]}}
        assert msgspec.convert({**match, **spec}, SecurityProfileSpec, strict=True)


@pytest.mark.parametrize("wanted", ["openssl", "curl", "signature-input", "content-digest"])
def test_the_example_is_a_client_of_standard_tools(wanted: str) -> None:
    """tests/envoy runs it against a real Envoy."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert 2 == len(blocks)
    assert wanted in "".join(blocks)
