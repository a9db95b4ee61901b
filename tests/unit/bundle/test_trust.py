"""Who may vouch for a bundle: manifest, signatures, keys that rotate and expire, and no way back."""

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.bundle import BadKeyError, BundleError, Package, TrustedKey, bundle_digest, encode_manifest, make_manifest
from extauthz.bundle.trust import read_private_key, read_public_key, sign
from extauthz.bundle.verify import Mark, Trust, check_sequence, verify_package
from tests.archives import Signer
from tests.unit.bundle.small_bundle import files

NOW = 1_800_000_000.0
OLD, NEW, STRANGER = Signer(), Signer(generate_private_key(SECP256R1())), Signer()
TRUST = Trust((TrustedKey(OLD.id), TrustedKey(NEW.id)), required=True)


def refusal(package: Package, trust: Trust = TRUST, now: float = NOW) -> str:
    with pytest.raises(BundleError) as caught:
        verify_package(package, trust, now)
    assert caught.value.step == "verify"
    return str(caught.value)


@pytest.mark.parametrize("signer", [OLD, NEW], ids=["Ed25519", "P-256"])
def test_a_signed_bundle_is_verified_and_its_signer_known(signer: Signer) -> None:
    found = verify_package(signer.package(files(), 7), TRUST, NOW)
    assert found.manifest is not None
    assert (7, "small", signer.id) == (found.manifest.sequence, found.manifest.name, found.key and found.key.id)


@pytest.mark.parametrize("signer", [OLD, NEW], ids=["Ed25519", "P-256"])
def test_signing_twice_makes_the_same_bytes(signer: Signer) -> None:
    """P-256 too (RFC 6979): an archive can be built again and compared."""
    assert signer.package(files()) == signer.package(files())


def test_openssl_verifies_a_signature_over_the_manifest(tmp_path: Path) -> None:
    """Nothing of ours is needed to check one by hand."""
    package = OLD.package(files())
    (signature,) = json.loads(package.signatures or b"")["signatures"]
    public = OLD.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "pub").write_bytes(public)
    (tmp_path / "manifest").write_bytes(package.manifest or b"")
    (tmp_path / "sig").write_bytes(msgspec.json.decode(json.dumps(signature["signature"]), type=bytes))
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "pub",
        "-rawin",
        "-in",
        "manifest",
        "-sigfile",
        "sig",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30, capture_output=True)


def test_every_change_after_signing_is_found() -> None:
    good = OLD.package(files())
    changed = {**good.files, "policy.yaml": good.files["policy.yaml"].replace(b"officer", b"anybody")}
    assert "policy.yaml: the file is not the one that the manifest lists" in refusal(replace(good, files=changed))
    more = {**good.files, "more.yaml": b"x"}
    assert "more.yaml: the manifest does not list this file" in refusal(replace(good, files=more))
    fewer = {name: text for name, text in good.files.items() if name != "policy.yaml"}
    assert "policy.yaml: the manifest lists this file, but it is not there" in refusal(replace(good, files=fewer))
    other = STRANGER.package(changed)
    assert "the manifest was changed after it was signed" in refusal(replace(other, signatures=good.signatures))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_manifest_or_signatures_can_be_changed(place: int, change: int) -> None:
    good = OLD.package(files())
    for field in ("manifest", "signatures"):
        spoilt = bytearray(getattr(good, field))
        spoilt[place % len(spoilt)] ^= change
        refusal(replace(good, **{field: bytes(spoilt)}))


def test_a_stranger_is_named() -> None:
    package = STRANGER.package(files())
    assert f".manifest.sig: signed by a key that is not trusted: `{STRANGER.id[:16]}`" == refusal(package)


def test_an_unsigned_bundle_is_taken_only_where_nobody_requires_a_signature() -> None:
    unsigned = replace(OLD.package(files()), signatures=None)
    assert ".manifest.sig: the bundle is not signed" == refusal(unsigned)
    assert ".manifest.json: there is no manifest: build or sign the bundle" == refusal(Package(files()))
    optional = replace(TRUST, required=False)
    assert verify_package(unsigned, optional, NOW).key is None
    assert verify_package(Package(files()), optional, NOW).manifest is None
    assert "not trusted" in refusal(STRANGER.package(files()), optional), "what is signed must be signed well"
    assert "there is no manifest" in refusal(Package(files(), None, b"{}"), optional)


def test_while_keys_rotate_either_is_enough() -> None:
    """First servers learn the new key, then the pipeline signs with it, then servers forget the old one."""
    old = OLD.package(files())
    manifest = old.manifest or b""
    both = replace(old, signatures=sign(manifest, [NEW.key], old.signatures))
    for trusted in (OLD, NEW):
        assert verify_package(both, Trust((TrustedKey(trusted.id),), required=True), NOW).key == TrustedKey(trusted.id)
    assert "not trusted" in refusal(both, Trust((TrustedKey(STRANGER.id),), required=True))


def test_a_signature_that_no_longer_holds_is_not_carried_on() -> None:
    stale = OLD.package(files(policy="a: 1"))
    manifest = OLD.package(files()).manifest or b""
    assert sign(manifest, [NEW.key], stale.signatures) == sign(manifest, [NEW.key])


def test_an_expired_key_vouches_for_nothing() -> None:
    expiring = Trust((TrustedKey(OLD.id, NOW),), required=True)
    package = OLD.package(files())
    assert verify_package(package, expiring, NOW).key is not None
    assert f".manifest.sig: key `{OLD.id[:16]}` expired at 2027-01-15T08:00:00Z: sign the bundle with a key that is valid" == (
        refusal(package, expiring, NOW + 1)
    )  # fmt: skip
    assert "expired" in refusal(package, expiring, float("nan"))


def test_of_several_good_signatures_the_one_that_lasts_longest_counts() -> None:
    """When its key ends, the bundle must have been signed anew; who watches for that must see the right day."""
    old = OLD.package(files())
    both = replace(old, signatures=sign(old.manifest or b"", [NEW.key], old.signatures))
    for ends, expected in (((NOW + 5, NOW + 9), NEW), ((NOW + 9, NOW + 5), OLD), ((NOW + 9, None), NEW)):
        trust = Trust((TrustedKey(OLD.id, ends[0]), TrustedKey(NEW.id, ends[1])), required=True)
        found = verify_package(both, trust, NOW).key
        assert found is not None
        assert expected.id == found.id


def test_only_the_bundle_that_is_meant_is_taken() -> None:
    """A key that signs for staging too must not bring staging's bundle into production."""
    trust = replace(TRUST, name="production")
    assert ".manifest.json: this is bundle `staging`, `production` is expected here" == (
        refusal(OLD.package(files(), name="staging"), trust)
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace(b'"sequence":1', b'"sequence":1,"sequence":1'), "not in the one form"),
        (lambda text: text.replace(b":", b": "), "not in the one form"),
        (lambda text: text + b"\n", "not in the one form"),
        (lambda text: text.replace(b"extauthz bundle 1", b"extauthz bundle 9"), "format `extauthz bundle 9` is not known"),
        (lambda text: text.replace(b'"sequence":1', b'"sequence":-1'), "not a manifest: expected `int` >= 0"),
        (lambda text: text.replace(b'"policy.yaml"', b'"../policy.yaml"'), "not in the one form"),
        (lambda text: text.replace(b'"name":"small"', b'"name":"small","more":1'), "not a manifest: object contains unknown field"),
        (lambda _: b"[" * 100_000, "not a manifest"),
        (lambda _: b"\xff", "not a manifest"),
    ],
)  # fmt: skip
def test_a_manifest_can_be_read_in_one_way_only(change: object, expected: str) -> None:
    """Also where no key is trusted, and nobody vouches for it."""
    good = OLD.package(files())
    assert expected in refusal(Package(good.files, change(good.manifest)), Trust())  # type: ignore[operator]


def test_files_of_signatures_are_bounded() -> None:
    good = OLD.package(files())
    assert "at most 65536 are read" in refusal(replace(good, signatures=b" " * 65537))
    crowd = json.loads(good.signatures or b"")
    crowd["signatures"] *= 17
    assert "not a file of signatures" in refusal(replace(good, signatures=json.dumps(crowd).encode()))
    crowd = {"format": "extauthz bundle signatures 1", "signatures": []}
    assert "the bundle is not signed" in refusal(replace(good, signatures=json.dumps(crowd).encode()))


def test_a_weak_or_foreign_key_cannot_be_used() -> None:
    for key in (generate_rsa(65537, 2048), generate_private_key(SECP384R1())):
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for read, pem in ((read_private_key, private), (read_public_key, public)):
            with pytest.raises(BadKeyError, match="holds a key of another kind: Ed25519 or ECDSA with P-256 is needed"):
                read(pem)
    for read in (read_private_key, read_public_key):
        with pytest.raises(BadKeyError, match=r"holds no (private|public) key in PEM"):
            read(b"no key")


def test_a_trusted_id_does_not_let_another_kind_of_key_in() -> None:
    """The id of an RSA key in the list of trusted keys: its signatures are still not read."""
    rsa = generate_rsa(65537, 2048).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good = OLD.package(files())
    forged = json.loads(good.signatures or b"")
    forged["signatures"][0]["publicKey"] = json.loads(msgspec.json.encode(rsa))
    trust = Trust((TrustedKey(sha256(rsa).hexdigest()),), required=True)
    assert "is wrong" in refusal(replace(good, signatures=json.dumps(forged).encode()), trust)


def sequence_refused(sequence: int, mark: Mark, permitted: tuple[str, ...] = ()) -> str:
    manifest = make_manifest(files(), "small", "r", sequence)
    with pytest.raises(BundleError) as caught:
        check_sequence(manifest, bundle_digest(files()), mark, permitted)
    assert "verify" == caught.value.step
    return str(caught.value)


def test_there_is_no_way_back() -> None:
    other = "0" * 64
    assert "sequence 7 was in force with other files: give every build its own number" in (
        sequence_refused(7, Mark(7, other))
    )
    assert "sequence 6 is lower than 7, which was in force: a rollback" in sequence_refused(6, Mark(7, other))
    assert "sequence 0 (it was built without `--sequence`) is lower" in sequence_refused(0, Mark(7, other))
    assert "a rollback" in sequence_refused(6, Mark(7, other), (other,)), "another one was permitted"


@pytest.mark.parametrize(
    ("sequence", "mark", "permitted"),
    [
        (8, Mark(7, "other"), ()),
        (1, None, ()),
        (7, Mark(7, bundle_digest(files())), ()),  # what is in force may be read again
        (0, Mark(0, "other"), ()),  # who does not count is not held to it
        (6, Mark(7, "other"), (bundle_digest(files()),)),  # somebody permitted it
    ],
)
def test_what_is_not_older_passes(sequence: int, mark: Mark | None, permitted: tuple[str, ...]) -> None:
    check_sequence(make_manifest(files(), "small", "r", sequence), bundle_digest(files()), mark, permitted)


def test_encoding_is_stable() -> None:
    """Signatures are over these bytes: another encoding would break every signature there is."""
    manifest = make_manifest({"a.yaml": b"a: 1\n"}, "small", "r1", 3)
    assert encode_manifest(manifest) == (
        b'{"format":"extauthz bundle 1","name":"small","revision":"r1","sequence":3,"files":[{"path":"a.yaml","size":5,'
        b'"sha256":"' + sha256(b"a: 1\n").hexdigest().encode() + b'"}]}'
    )
