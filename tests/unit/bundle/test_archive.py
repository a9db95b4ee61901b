"""An archive: the same tree, the same bytes; and nothing is read that `build` could not have written."""

import gzip
import subprocess
import tarfile
import tracemalloc
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.bundle import BundleError, Package, encode_manifest, make_manifest, pack, unpack
from extauthz.bundle.package import MAX_FILES
from extauthz.bundle.syntax import MAX_FILE_BYTES
from tests.archives import HOSTILE, Signer, member, members_of, raw_archive, raw_tar, with_member, zip_bomb
from tests.unit.bundle.small_bundle import files

SIGNER = Signer()
GOOD = SIGNER.package(files())


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def refusal(archive: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        unpack(archive, "x.tar.gz")
    assert caught.value.step == "unpack"
    return str(caught.value)


def test_what_was_packed_comes_out() -> None:
    assert unpack(pack(GOOD), "x.tar.gz") == GOOD
    assert unpack(pack(GOOD, compress=True), "x.tar.gz") == GOOD


def test_the_bytes_are_pinned() -> None:
    """On any machine, with any zlib: this digest is that of every build of this tree."""
    tree = {"b.yaml": b"b: 1\n", "a/ä.yaml": "ä: 1\n".encode()}
    package = Package(tree, encode_manifest(make_manifest(tree, "pinned", "r1", 7)))
    again = Package(dict(reversed(tree.items())), package.manifest)
    assert pack(package) == pack(again)
    assert "b31b7a47821b6b39bb8007b8712c6aff59ec6599e326de04a95d32a271b2a172" == sha256(pack(package)).hexdigest()


def test_the_systems_tar_reads_it(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(pack(GOOD))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xzf", tmp_path / "x.tar.gz", "-C", tmp_path / "out"], check=True, timeout=30)
    found = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert GOOD.files == {name: path.read_bytes() for name, path in found.items() if not name.startswith(".")}
    assert GOOD.manifest == found[".manifest.json"].read_bytes()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members_are_refused_by_name(name: str) -> None:
    extra, expected = HOSTILE[name]
    assert expected in refusal(with_member(GOOD, *extra))


TAR = raw_tar(members_of(GOOD))
NOT_OURS = "not packed as `extauthz bundle build` packs"
ODD = {
    "nothing": (b"", "the archive is truncated: 0 bytes are not all of it"),
    "one byte short": (pack(GOOD)[:-1], "the archive is truncated"),
    "half": (pack(GOOD)[:5000], "the archive is truncated: 5000 bytes are not all of it"),
    "half, compressed": (pack(GOOD, compress=True)[:-9], "the archive is truncated"),
    "one byte more": (pack(GOOD) + b"\0", "1 bytes follow the end of the archive"),
    "two archives": (pack(GOOD) + pack(GOOD), "bytes follow the end of the archive"),
    "wrong checksum": (pack(GOOD)[:-8] + bytes(8), "not a `.tar.gz`, or damaged: incorrect data check"),
    "a zip file": (b"PK\3\4 a zip file", "not a `.tar.gz`, or damaged: incorrect header check"),
    "no tar": (gz(b"no tar"), "damaged at byte 0 of the unpacked archive: truncated header"),
    "a page of text": (gz(b"1" * 512), "damaged at byte 0 of the unpacked archive: bad checksum"),
    "empty tar": (gz(bytes(10240)), "the archive has no `.manifest.json`: build it with `extauthz bundle build`"),
    "tar cut in a header": (gz(TAR[:1700]), "damaged at byte 1536 of the unpacked archive: truncated header"),
    "tar cut in a file": (
        gz(TAR[:700]),
        ".manifest.json: the archive ends in the middle of this file, behind 188 bytes",
    ),
    "tar cut between files": (gz(TAR[:1536]), NOT_OURS),
    "bytes behind the tar": (gz(TAR + b"x"), NOT_OURS),
    "zeros behind the tar": (gz(TAR + bytes(512)), NOT_OURS),
    "other order": (raw_archive(list(reversed(members_of(GOOD)))), NOT_OURS),
    "no manifest": (raw_archive(members_of(GOOD)[1:]), "the archive has no `.manifest.json`"),
    "an owner": (with_member(GOOD, member("z.yaml", b"x", uid=1)), NOT_OURS),
    "a time": (with_member(GOOD, member("z.yaml", b"x", mtime=1)), NOT_OURS),
    "set-uid": (with_member(GOOD, member("z.yaml", b"x", mode=0o4755)), NOT_OURS),
    "a size without content": (
        with_member(GOOD, member("z.yaml", b"", size=MAX_FILE_BYTES + 1)),
        "z.yaml: the file has 16777217 bytes, at most 16777216 are read",
    ),
    "not UTF-8": (with_member(GOOD, member("\udcff.yaml", b"x")), "is not UTF-8"),
    "GNU's own format": (raw_archive(members_of(GOOD), form=tarfile.GNU_FORMAT), NOT_OURS),
}


@pytest.mark.parametrize("name", ODD)
def test_damaged_and_odd_archives_are_refused(name: str) -> None:
    archive, expected = ODD[name]
    assert expected in refusal(archive)


def test_what_other_programs_pack_is_refused() -> None:
    """One packer, so that a reader never has to guess."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in members_of(GOOD):
            info.mtime = 1_700_000_000
            tar.addfile(info, BytesIO(content))
    assert NOT_OURS in refusal(stream.getvalue())


def test_a_bomb_costs_no_memory() -> None:
    """A gigabyte of zeros in a megabyte: refused when the cap is reached."""
    bomb = zip_bomb()
    assert len(bomb) < 2 << 20
    tracemalloc.start()
    message = refusal(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "x.tar.gz: the archive unpacks to more than" in message
    assert peak < 256 << 20


def test_too_many_members_are_refused() -> None:
    archive = with_member(GOOD, *(member(f"p{number:05}.yaml") for number in range(MAX_FILES + 1)))
    assert f"the archive holds more than {MAX_FILES} files" in refusal(archive)


def test_a_path_that_ustar_cannot_hold_is_refused_when_built() -> None:
    with pytest.raises(
        BundleError, match=r"the path is too long for an archive: at most 100 bytes behind the last `/`"
    ):
        pack(Package({f"{'x' * 97}.yaml": b""}, b"{}"))


@settings(deadline=None)
@given(st.binary(max_size=4096))
def test_any_bytes_end_in_a_package_or_a_refusal(data: bytes) -> None:
    for archive in (data, gz(data), gz(data + bytes(1024))):
        with pytest.raises(BundleError):
            unpack(archive, "x.tar.gz")


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_never_read_as_the_same_package(place: int, change: int) -> None:
    """Caught by the checksum of gzip or, where that was mended too, by the signature: see test_trust."""
    tar = bytearray(raw_tar(members_of(GOOD)))
    tar[place % len(tar)] ^= change
    try:
        found = unpack(gz(bytes(tar)), "x.tar.gz")
    except BundleError:
        return
    assert found != GOOD
