"""After a restart: what was in force comes from the disk, verified anew, and only when nothing better can be had."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from extauthz.bundle import Package, pack
from extauthz.settings import SettingsError, load_settings
from extauthz.sources import Activation, BundleOptions, BundleSource, Live
from extauthz.sources.bundles.options import FetchOptions, TrustedKeyOptions, TrustOptions
from tests.archives import Signer
from tests.unit.bundle.small_bundle import BUNDLE, POLICY, files

OWN, STRANGER = Signer(), Signer()


class Followed:
    """A source with its live snapshot, and everything that was reported; `begin` is a start of the server."""

    def __init__(self, place: dict[str, Any], state: Path, **options: Any) -> None:
        trust = TrustOptions(keys=(TrustedKeyOptions(id=OWN.id),))
        given = {"state_directory": str(state), "trust": trust, "fetch": FetchOptions(timeout_seconds=0.5), **options}
        self.live = Live()
        self.reports: list[Activation] = []
        self.source = BundleSource(BundleOptions(**place, **given), self.live, self.reports.append)
        self.source.begin()

    @property
    def revision(self) -> str:
        return self.live.status().revision


def revised(name: str) -> dict[str, bytes]:
    return files(bundle=BUNDLE.replace("small-1", name))


def write(directory: Path, package: Package) -> dict[str, Any]:
    shutil.rmtree(directory, ignore_errors=True)
    named = {**package.files, ".manifest.json": package.manifest, ".manifest.sig": package.signatures}
    for name, content in named.items():
        if content is not None:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
    return {"directory": str(directory)}


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    return write(tmp_path / "bundle", OWN.package(revised("r1"), 1, revision="r1"))


def archive_of(state: Path) -> Path:
    (found,) = (state / "revisions").glob("*.tar.gz")
    return found


def test_a_directory_that_is_gone_is_replaced_by_the_disk(place: dict[str, Any], tmp_path: Path) -> None:
    assert "r1" == Followed(place, tmp_path / "state").revision
    shutil.rmtree(place["directory"])
    again = Followed(place, tmp_path / "state")
    assert "r1" == again.revision
    assert ["rejected", "activated"] == [report.result for report in again.reports]
    assert again.reports[-1].where.startswith(str(tmp_path / "state"))


def test_a_directory_that_is_there_goes_first(place: dict[str, Any], tmp_path: Path) -> None:
    Followed(place, tmp_path / "state")
    write(tmp_path / "bundle", OWN.package(revised("r2"), 2, revision="r2"))
    assert "r2" == Followed(place, tmp_path / "state").revision


def test_an_unsigned_directory_is_kept_too(tmp_path: Path) -> None:
    place = write(tmp_path / "bundle", Package(files()))
    Followed(place, tmp_path / "state", trust=TrustOptions())
    shutil.rmtree(place["directory"])
    assert "small-1" == Followed(place, tmp_path / "state", trust=TrustOptions()).revision


def test_a_source_afar_is_not_waited_for(place: dict[str, Any], tmp_path: Path) -> None:
    Followed(place, tmp_path / "state")
    afar = Followed({"url": "https://127.0.0.1:1/x.tar.gz"}, tmp_path / "state")
    assert ("r1", ["activated"]) == (afar.revision, [report.result for report in afar.reports])


@pytest.mark.parametrize(
    ("spoil", "step", "expected"),
    [
        ("bytes", "fetch", "is damaged: its digest is not the one that was noted"),
        ("gone", "fetch", "cannot be read: no such file or directory"),
        ("files", "verify", "policy.yaml: the file is not the one that the manifest lists"),
        ("signer", "verify", "signed by a key that is not trusted"),
        ("older", "verify", "sequence 0 (it was built without `--sequence`) is lower than 1, which was in force"),
        ("rubbish", "unpack", "not a `.tar.gz`, or damaged"),
    ],
)
def test_a_copy_that_was_changed_is_not_put_in_force(
    place: dict[str, Any], tmp_path: Path, spoil: str, step: str, expected: str
) -> None:
    Followed(place, tmp_path / "state")
    shutil.rmtree(place["directory"])
    archive = archive_of(tmp_path / "state")
    about = archive.with_name(archive.name.replace(".tar.gz", ".json"))
    good = OWN.package(revised("r1"), 1, revision="r1")
    generous = {**good.files, "policy.yaml": POLICY.replace("limit >= 10", "limit >= 0").encode()}
    content = {
        "bytes": archive.read_bytes()[:-100],
        "gone": b"",
        "files": pack(Package(generous, good.manifest, good.signatures)),
        "signer": STRANGER.archive(generous, 9),
        "older": OWN.archive(generous, 0),
        "rubbish": b"rubbish",
    }[spoil]
    archive.write_bytes(content)
    if spoil == "gone":
        archive.unlink()
    elif spoil != "bytes":
        noted = json.loads(about.read_text())
        about.write_text(json.dumps({**noted, "sha256": sha256(content).hexdigest()}))
    again = Followed(place, tmp_path / "state")
    assert "" == again.revision
    assert ("rejected", step) == (again.reports[-1].result, again.reports[-1].step)
    assert expected in str(again.reports[-1].findings[0])


def test_a_key_that_was_taken_out_vouches_for_no_copy_either(place: dict[str, Any], tmp_path: Path) -> None:
    Followed(place, tmp_path / "state")
    shutil.rmtree(place["directory"])
    trust = TrustOptions(keys=(TrustedKeyOptions(id=STRANGER.id),))
    assert "" == Followed(place, tmp_path / "state", trust=trust).revision


def test_a_higher_number_for_the_same_files_raises_the_mark(place: dict[str, Any], tmp_path: Path) -> None:
    """Nothing else changes: what is in force stays, with its warm caches."""
    followed = Followed(place, tmp_path / "state")
    world = followed.live.current
    write(tmp_path / "bundle", OWN.package(revised("r1"), 5, revision="r1"))
    report = followed.source.refresh()
    assert report is not None
    assert ("unchanged", 5, True) == (report.result, report.sequence, followed.live.current is world)
    write(tmp_path / "bundle", OWN.package(revised("r2"), 4, revision="r2"))
    report = followed.source.refresh()
    assert report is not None
    assert ("rejected", "verify") == (report.result, report.step)


def test_the_manifest_names_the_revision(place: dict[str, Any], tmp_path: Path) -> None:
    """A pipeline's `--revision` is what decisions, metrics and the journal show."""
    write(tmp_path / "bundle", OWN.package(files(), 2, revision="commit-8f3c2d1"))
    assert "commit-8f3c2d1" == Followed(place, tmp_path / "state").revision


def test_a_bundle_of_another_name_takes_no_place_by_itself(place: dict[str, Any], tmp_path: Path) -> None:
    """It has no mark, so an old bundle of another name that the same key signed would be a way around the marks."""
    followed = Followed(place, tmp_path / "state")
    write(tmp_path / "bundle", OWN.package(revised("r2"), 9, name="staging", revision="r2"))
    report = followed.source.refresh()
    assert report is not None
    assert ("rejected", "verify") == (report.result, report.step)
    assert "this is bundle `staging`, `small` was in force here: set `bundle.trust.name` to `staging`" in (
        str(report.findings[0])
    )
    meant = TrustOptions(keys=(TrustedKeyOptions(id=OWN.id),), name="staging")
    assert "r2" == Followed(place, tmp_path / "state", trust=meant).revision


def test_a_rejected_bundle_is_told_once_and_looked_at_once(place: dict[str, Any], tmp_path: Path) -> None:
    followed = Followed(place, tmp_path / "state")
    bad = STRANGER.package(revised("r2"), 2)
    for _ in range(3):
        write(tmp_path / "bundle", bad)
        followed.source.refresh()
    assert ["activated", "rejected"] == [report.result for report in followed.reports]
    assert 1 == followed.source.status().steps["verify", "failed"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["bundle.url=https://b.test/x"], "bundle: `url` needs `stateDirectory`"),
        (["bundle.oci=b.test/x:live"], "bundle: `oci` needs `stateDirectory`"),
        ([f"bundle.trust.keys=[{{id: {'0' * 64}}}]"], "bundle: `trust.keys` needs `stateDirectory`"),
        (["bundle.url=https://b.test/x", "bundle.directory=y"], "bundle: it takes one of `directory`, `url` and `oci`"),
        (["bundle.url=http://b.test/x"], "must begin with `https://`; `http://` is for loopback only"),
        (["bundle.oci=b.test/x"], "bundle: `oci`: `b.test/x` must be `registry/repository:tag`"),
        (["bundle.trust.keys=[{id: abc}]"], "bundle.trust.keys[0].id"),
        (["bundle.trust.keys=[{}]"], "bundle.trust.keys[0]: a trusted key needs either `file` or `id`"),
        ([f"bundle.trust.keys=[{{id: {'0' * 64}, notAfter: 2026-11-23T10:00:00}}]"], "bundle.trust.keys[0].notAfter"),
        (["bundle.whenTooOld=undecided"], "bundle: `whenTooOld: undecided` needs `maxAgeSeconds`"),
        (["bundle.fetch.clientKeyFile=x"], "`clientCertificateFile` and `clientKeyFile` go together"),
        (["bundle.fetch.tokenFile=x", "bundle.fetch.credentialsFile=y"], "either `tokenFile` or `credentialsFile`"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: list[str], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {}, settings)
    assert expected in str(caught.value)
