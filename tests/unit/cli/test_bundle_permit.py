"""`extauthz bundle permit`: leave to go back is for one bundle, with a name and a reason, or it is not given."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extauthz.bundle import bundle_digest
from extauthz.cli import main
from extauthz.sources.bundles.store import BundleStore
from tests.archives import Signer
from tests.unit.bundle.small_bundle import files

DIGEST = bundle_digest(files())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    BundleStore(str(tmp_path / "state"), keep=1).open()
    (tmp_path / "x.tar.gz").write_bytes(Signer().archive(files()))
    for name, content in files().items():
        (tmp_path / "small" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "small" / name).write_bytes(content)
    return tmp_path


def run(site: Path, bundle: object, *more: str, operator: str = "ana", reason: str = "INC-1") -> Result:
    arguments = ["--state", str(site / "state"), "--operator", operator, "--reason", reason, *more]
    return CliRunner().invoke(main, ["bundle", "permit", str(bundle), *arguments])


@pytest.mark.parametrize("bundle", ["x.tar.gz", "small", DIGEST])
def test_an_archive_a_directory_or_a_digest_names_the_bundle(site: Path, bundle: str) -> None:
    result = run(site, bundle if bundle == DIGEST else site / bundle)
    assert (0, f"permitted: {DIGEST}\n") == (result.exit_code, result.output)
    permit = BundleStore(str(site / "state"), keep=1).state().permits[DIGEST]
    assert ("ana", "INC-1", os.getuid()) == (permit.operator, permit.reason, permit.uid)


@pytest.mark.parametrize(("operator", "reason"), [("", "x"), ("ana", " "), ("ana", "a\nb"), ("a" * 513, "x")])
def test_without_a_name_and_a_reason_nothing_is_permitted(site: Path, operator: str, reason: str) -> None:
    result = run(site, DIGEST, operator=operator, reason=reason)
    assert (2, {}) == (result.exit_code, BundleStore(str(site / "state"), keep=1).state().permits)


def test_what_cannot_be_read_is_named(site: Path) -> None:
    result = run(site, site / "gone.tar.gz")
    assert (3, f"extauthz: {site}/gone.tar.gz: no such file or directory\n") == (result.exit_code, result.output)
    (site / "x.tar.gz").write_bytes(b"rubbish")
    assert (3, True) == ((found := run(site, site / "x.tar.gz")).exit_code, "not a `.tar.gz`" in found.output)
    (site / "state" / "state.json").write_text("{}")
    result = run(site, DIGEST)
    assert (4, True) == (result.exit_code, "state.json` is damaged" in result.output)
