"""docs/sender-constraint.md says what the code does: every piece of YAML in it is taken as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

from extauthz.bundle import read_bundle
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from extauthz.settings import load_settings
from extauthz.telemetry.contract import FAMILIES

PAGE = (Path(__file__).parents[3] / "docs" / "sender-constraint.md").read_text(encoding="utf-8")
PIECES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
CONFIG = [piece for piece in PIECES if piece.startswith("# the server config")]
DOCUMENT = [piece for piece in PIECES if piece.startswith("apiVersion")]
SECTIONS = [piece for piece in PIECES if piece not in CONFIG and piece not in DOCUMENT]
ISSUER = """\
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: keycloak}
spec: {issuer: https://idp.bank.test, audiences: [bank]}
"""


def load(profile: str) -> Any:
    (compiled,) = read_bundle(
        {"i.yaml": ISSUER.encode(), "p.yaml": profile.encode()}, NoTokenCache()
    ).snapshot.profiles.profiles
    return compiled


def test_the_whole_document_loads() -> None:
    (document,) = DOCUMENT
    profile = load(document)
    assert profile.sender.required
    assert ("mtls", "dpop") == profile.sender.accept


@pytest.mark.parametrize("section", SECTIONS, ids=range(len(SECTIONS)))
def test_every_section_loads(section: str) -> None:
    head = """\
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: p}
spec:
  match: {hosts: [api.banking.local, "*.api.banking.local"], paths: [/**]}
  authentication: {mode: required, issuers: [keycloak]}
"""
    if section.startswith("dpop:"):
        section = "senderConstraint:\n" + re.sub("^", "  ", section, flags=re.MULTILINE)
    load(head + re.sub("^", "  ", section, flags=re.MULTILINE))


@pytest.mark.parametrize("piece", CONFIG, ids=range(len(CONFIG)))
def test_every_piece_of_server_config_loads(piece: str, tmp_path: Path) -> None:
    file = tmp_path / "extauthz.yaml"
    file.write_text(piece)
    load_settings(file, {}, [])


def test_reasons_and_metrics_that_the_page_names_exist() -> None:
    codes = {reason.code for reason in Reason}
    named = set(re.findall(r"`((?:proof|replay_store|sender_constraint)_[a-z_]+)`", PAGE))
    assert named
    assert named <= codes
    families = {family.name for family in FAMILIES}
    assert set(re.findall(r"`(extauthz_[a-z_]+)", PAGE)) <= families
