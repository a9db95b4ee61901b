"""docs/fapi.md says what the code does."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from extauthz.bundle import BundleError, read_bundle
from extauthz.bundle.fapi_profile import DEMANDS
from extauthz.bundle.kinds import SecurityProfileSpec
from extauthz.guards.ecosystems import ECOSYSTEMS
from extauthz.model.ports import NoTokenCache

PAGE = (Path(__file__).parents[3] / "docs" / "fapi.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```(yaml|text)\n(.*?)```", PAGE, re.DOTALL)
PIECES = [yaml.safe_load(text) for kind, text in FENCES if kind == "yaml"]
TOLD = "".join(text for kind, text in FENCES if kind == "text")
ISSUERS = """\
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: auth0}
spec: {preset: auth0, issuer: https://bank.example/, audiences: [open-banking]}
"""
MISTAKES = """\
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: open-banking}
spec:
  # what the page shows, with an issuer and a section that contradict the profile
  match: {hosts: [secure.banking.local], paths: [/open-banking/**]}
  authentication: {mode: required, issuers: [auth0]}
  fapi: {profile: fapi2-security, ecosystem: uk-obie}
  senderConstraint: {required: false}
"""


def test_the_page_lists_the_demands_of_the_code() -> None:
    profiles = list(DEMANDS)
    assert f"| | {' | '.join(profiles)} | check |" in PAGE
    algorithms = [", ".join(f"`{name}`" for name in DEMANDS[p].algorithms) or "any of theirs" for p in profiles]
    leeways = [f"at most {DEMANDS[p].max_leeway} s" for p in profiles]
    bound = [" or ".join(f"`{kind}`" for kind in DEMANDS[p].accept) or "bearer tokens pass" for p in profiles]
    for cells in (algorithms, leeways, bound):
        assert f"| {' | '.join(cells)} |" in PAGE


def test_the_page_lists_every_ecosystem() -> None:
    assert set(ECOSYSTEMS) == set(re.findall(r"^\| `([a-z0-9.-]+)` \| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE))


def test_the_errors_of_the_page_are_told_as_printed() -> None:
    files = {"issuers.yaml": ISSUERS.encode(), "profiles.yaml": MISTAKES.encode()}
    with pytest.raises(BundleError) as caught:
        read_bundle(files, NoTokenCache())
    errors = [finding for finding in caught.value.findings if finding.severity == "error"]
    assert TOLD == "".join(f"{finding}\n" for finding in errors)


@pytest.mark.parametrize("piece", [p for p in PIECES if p.get("kind", "SecurityProfile") == "SecurityProfile"])
def test_the_pieces_of_a_profile_can_be_bound(piece: dict[str, object]) -> None:
    spec = piece.get("spec") or {"match": {}, "authentication": {"issuers": ["keycloak"]}, **piece}
    assert msgspec.convert(spec, SecurityProfileSpec, strict=True)
