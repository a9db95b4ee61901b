"""`extauthz bundle build`, `sign`, `verify`, `keygen`: what a pipeline sees, and the exit codes it relies on."""

import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extauthz.bundle import unpack
from extauthz.cli import main
from extauthz.sources import load_directory, load_package
from tests.unit.bundle.small_bundle import FILES, POLICY, TEST


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bundle", *map(str, arguments)])


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a bundle, and two keys."""
    for name, text in FILES.items():
        file = tmp_path / "small" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert 0 == run("keygen", "--out", tmp_path / "old").exit_code
    assert 0 == run("keygen", "--out", tmp_path / "new", "--algorithm", "ecdsa-p256").exit_code
    return tmp_path


def test_build_then_verify(site: Path) -> None:
    built = run(
        "build", site / "small", "-o", site / "x.tar.gz", "--key", site / "old", "--sequence", 7, "--format", "json"
    )
    assert 0 == built.exit_code, built.output
    about = json.loads(built.output)
    assert ("small", "small-1", 7, 7) == (about["name"], about["revision"], about["sequence"], about["files"])
    verified = run("verify", site / "x.tar.gz", "--trust", site / "old.pub", "--name", "small", "--min-sequence", 7)
    assert 0 == verified.exit_code, verified.output
    assert f"trusted: {about['signedBy'][0]}" in verified.output
    assert load_directory(site / "small") == unpack((site / "x.tar.gz").read_bytes(), "x").files


def test_the_same_tree_makes_the_same_bytes_wherever_and_however_it_is_built(site: Path) -> None:
    """Another directory, other times, modes and order of creation, another umask, locale, time zone and hash seed."""
    arguments = ["--key", str(site / "new"), "--key", str(site / "old"), "--sequence", "7"]
    assert 0 == run("build", site / "small", "-o", site / "a.tar.gz", *arguments).exit_code
    (site / "elsewhere").mkdir(mode=0o700)
    for name in reversed(FILES):
        file = site / "elsewhere" / "copy" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FILES[name])
        file.chmod(0o600)
        os.utime(file, (1_000_000_000, 1_000_000_000))
    (site / "elsewhere" / "copy" / "README.md").write_text("not part of a bundle")
    (site / "elsewhere" / "copy" / ".git").mkdir()
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    arguments = ["--key", str(site / "old"), "--key", str(site / "new"), "--sequence", "7"]
    command = [sys.executable, "-m", "extauthz", "bundle", "build", "copy", "-o", "../b.tar.gz", *arguments]
    subprocess.run(
        command, cwd=site / "elsewhere", env=environ, check=True, timeout=60, umask=0o077, stdout=subprocess.DEVNULL
    )
    assert (site / "a.tar.gz").read_bytes() == (site / "b.tar.gz").read_bytes()


def test_compressed_is_smaller_and_verifies_alike(site: Path) -> None:
    run("build", site / "small", "-o", site / "a.tar.gz", "--key", site / "old")
    run("build", site / "small", "-o", site / "b.tar.gz", "--key", site / "old", "--compress")
    small, large = (site / "b.tar.gz").read_bytes(), (site / "a.tar.gz").read_bytes()
    assert len(small) < len(large) / 3
    assert gzip.decompress(small) == gzip.decompress(large)
    assert 0 == run("verify", site / "b.tar.gz", "--trust", site / "old.pub").exit_code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--trust", "new.pub"], "verify: .manifest.sig: signed by a key that is not trusted: `"),
        (["--trust", "old.pub", "--name", "bank"], "verify: .manifest.json: this is bundle `small`, `bank` is expected here"),
        (["--trust", "old.pub", "--min-sequence", "8"], "verify: .manifest.json: sequence 7 is lower than 8"),
    ],
)  # fmt: skip
def test_verify_says_what_a_server_would_say(site: Path, arguments: list[str], expected: str) -> None:
    run("build", site / "small", "-o", site / "x.tar.gz", "--key", site / "old", "--sequence", 7)
    result = run("verify", site / "x.tar.gz", *(site / word if word.endswith(".pub") else word for word in arguments))
    assert (1, True) == (result.exit_code, result.output.startswith(expected)), result.output


def test_verify_of_a_damaged_archive_names_the_step(site: Path) -> None:
    run("build", site / "small", "-o", site / "x.tar.gz", "--key", site / "old")
    (site / "x.tar.gz").write_bytes((site / "x.tar.gz").read_bytes()[:-100])
    result = run("verify", site / "x.tar.gz", "--trust", site / "old.pub")
    assert (1, True) == (
        result.exit_code,
        result.output.startswith(f"unpack: {site}/x.tar.gz: the archive is truncated"),
    )


def test_a_second_signature_for_the_time_that_keys_rotate(site: Path) -> None:
    run("build", site / "small", "-o", site / "x.tar.gz", "--key", site / "old", "--sequence", 7)
    assert 0 == run("sign", site / "x.tar.gz", "--key", site / "new").exit_code
    for public in ("old.pub", "new.pub"):
        assert 0 == run("verify", site / "x.tar.gz", "--trust", site / public).exit_code
    again = (site / "x.tar.gz").read_bytes()
    assert 0 == run("sign", site / "x.tar.gz", "--key", site / "old").exit_code
    assert again == (site / "x.tar.gz").read_bytes(), "signing again changes nothing"
    refused = run("sign", site / "x.tar.gz", "--key", site / "old", "--sequence", 8)
    assert (2, True) == (refused.exit_code, "an archive keeps its sequence" in refused.output)


def test_a_directory_is_signed_in_place(site: Path) -> None:
    assert 0 == run("sign", site / "small", "--key", site / "old", "--sequence", 3).exit_code
    assert 0 == run("verify", site / "small", "--trust", site / "old.pub").exit_code
    assert FILES.keys() == load_package(site / "small").files.keys()
    (site / "small" / "more.yaml").write_text("a: 1\n")
    result = run("verify", site / "small", "--trust", site / "old.pub")
    assert (1, "verify: more.yaml: the manifest does not list this file\n") == (result.exit_code, result.output)


def test_what_a_server_would_reject_is_not_built(site: Path) -> None:
    (site / "small" / "policy.yaml").write_text(POLICY.replace("allow", "alow"))
    result = run("build", site / "small", "-o", site / "x.tar.gz")
    assert (3, True) == (result.exit_code, "policy.yaml:5: spec.effect: unknown value `alow`" in result.output)
    (site / "small" / "policy.yaml").write_text(POLICY)
    (site / "small" / "tests" / "staff.yaml").write_text(TEST.replace("limit: 10", "limit: 9"))
    result = run("build", site / "small", "-o", site / "x.tar.gz")
    assert (1, True) == (result.exit_code, "case `an officer reads` of `staff` fails" in result.output)
    assert not (site / "x.tar.gz").exists()


def test_the_revision_is_the_documents_or_the_pipelines_but_not_both(site: Path) -> None:
    result = run("build", site / "small", "-o", site / "x.tar.gz", "--revision", "v2")
    assert (3, True) == (result.exit_code, "spec.revision is `small-1`, not `v2`" in result.output)
    (site / "small" / "bundle.yaml").unlink()
    built = run("build", site / "small", "-o", site / "x.tar.gz", "--revision", "v2", "--format", "json")
    assert ("bundle", "v2") == (json.loads(built.output)["name"], json.loads(built.output)["revision"])
    result = run("build", site / "small", "-o", site / "x.tar.gz", "--revision", "v\u00fc")
    assert (3, True) == (result.exit_code, ".manifest.json: not a manifest: " in result.output)


def test_keys(site: Path) -> None:
    assert 0o600 == stat.S_IMODE((site / "old").stat().st_mode)
    again = run("keygen", "--out", site / "old")
    assert (4, f"extauthz: {site}/old: exists already\n") == (again.exit_code, again.output)
    wrong = run("build", site / "small", "-o", site / "x.tar.gz", "--key", site / "old.pub")
    assert (3, True) == (wrong.exit_code, "old.pub: holds no private key in PEM without a password" in wrong.output)
    wrong = run("verify", site / "small", "--trust", site / "old")
    assert (3, True) == (wrong.exit_code, "old: holds no public key in PEM" in wrong.output)
    missing = run("build", site / "small", "-o", site / "x.tar.gz", "--key", site / "gone")
    assert (4, f"extauthz: {site}/gone: no such file or directory\n") == (missing.exit_code, missing.output)


def test_an_archive_that_cannot_be_written_leaves_the_old_one(site: Path) -> None:
    (site / "out").mkdir()
    (site / "out" / "x.tar.gz").write_bytes(b"old")
    (site / "out" / "x.tar.gz.new").mkdir()  # in the way, whoever runs this test
    result = run("build", site / "small", "-o", site / "out" / "x.tar.gz")
    assert (4, b"old") == (result.exit_code, (site / "out" / "x.tar.gz").read_bytes())
    shutil.rmtree(site / "out")
    assert 4 == run("build", site / "small", "-o", site / "out" / "x.tar.gz").exit_code


def test_other_commands_read_archives_too(site: Path) -> None:
    archive = site / "x.tar.gz"
    run("build", site / "small", "-o", archive)
    for command in ("lint", "test", "show"):
        of_archive, of_directory = run(command, archive), run(command, site / "small")
        assert 0 == of_archive.exit_code, of_archive.output
        assert of_directory.output.replace(str(site / "small"), str(archive)) == of_archive.output
    archive.write_bytes(archive.read_bytes()[:-1])
    result = run("test", archive)
    assert (3, True) == (result.exit_code, "the archive is truncated" in result.output)
