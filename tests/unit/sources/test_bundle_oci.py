"""Bundles from a registry: what a digest names is believed only when it is that; credentials go where they belong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from extauthz.bundle import BundleError
from extauthz.sources.bundles.oci import OciOrigin
from extauthz.sources.bundles.options import BundleOptions, FetchOptions
from extauthz.sources.bundles.origin import UnreachableError
from extauthz.sources.bundles.reference import Reference, parse_reference
from tests.registry import LAYER_TYPE, MANIFEST_TYPE, Registry, digest_of

ARCHIVE = b"an archive, as far as a registry knows"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def registry(authority: trustme.CA) -> Iterator[Registry]:
    found = Registry(authority)
    yield found
    found.stop()


@pytest.fixture
def fetch(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {"ca_file": str(tmp_path / "ca.pem"), "timeout_seconds": 5.0}


def origin(registry: Registry, fetch: dict[str, Any], name: str = "policies/bank:live", **more: Any) -> OciOrigin:
    return OciOrigin(f"{registry.host}/{name}", FetchOptions(**fetch, **more))


def asked(registry: Registry) -> list[str]:
    return [
        f"{method} {path.partition('?')[0].removeprefix('/v2/policies/bank/')}" for method, path, _ in registry.asked
    ]


def test_what_was_pushed_is_pulled_and_then_only_the_tag_is_looked_at(
    registry: Registry, fetch: dict[str, Any]
) -> None:
    digest = registry.push(ARCHIVE)
    source = origin(registry, fetch)
    brought = source.fetch(0.0)
    assert brought is not None
    assert (ARCHIVE, digest) == (brought.archive, brought.tag)
    assert source.fetch(0.0) is None
    assert ["GET manifests/live", f"GET blobs/{digest_of(ARCHIVE)}", "HEAD manifests/live"] == asked(registry)
    registry.push(b"another")
    again = source.fetch(0.0)
    assert again is not None
    assert b"another" == again.archive


def test_a_registry_that_does_not_tell_digests_is_asked_for_the_manifest(
    registry: Registry, fetch: dict[str, Any]
) -> None:
    registry.push(ARCHIVE)
    registry.tell_digest = False
    source = origin(registry, fetch)
    assert source.fetch(0.0) is not None
    assert source.fetch(0.0) is None
    assert ["HEAD manifests/live", "GET manifests/live"] == asked(registry)[-2:]


def test_after_a_restart_nothing_is_downloaded_again(registry: Registry, fetch: dict[str, Any]) -> None:
    source = origin(registry, fetch)
    source.knows(registry.push(ARCHIVE))
    assert source.fetch(0.0) is None
    source.forget()
    assert source.fetch(0.0) is not None


def test_a_digest_in_the_name_pins_the_artefact(registry: Registry, fetch: dict[str, Any]) -> None:
    """The tag moves on; this server does not."""
    digest = registry.push(ARCHIVE)
    source = origin(registry, fetch, f"policies/bank:live@{digest}")
    assert source.fetch(0.0) is not None
    registry.push(b"another")
    assert source.fetch(0.0) is None


def test_a_registry_cannot_send_another_manifest_for_a_digest(registry: Registry, fetch: dict[str, Any]) -> None:
    digest = registry.push(ARCHIVE)
    registry.spoil = lambda path, body: body + b" " if "manifests" in path else body
    with pytest.raises(BundleError, match="the registry sent a manifest with digest `sha256:") as caught:
        origin(registry, fetch, f"policies/bank@{digest}").fetch(0.0)
    assert "verify" == caught.value.step


@pytest.mark.parametrize("spoilt", [b"An archive, as far as a registry knows", ARCHIVE[:-1], b""])
def test_a_layer_that_is_not_its_digest_is_refused(registry: Registry, fetch: dict[str, Any], spoilt: bytes) -> None:
    registry.push(ARCHIVE)
    registry.spoil = lambda path, body: spoilt if "blobs" in path else body
    with pytest.raises(
        BundleError, match=r"the archive is not `sha256:.*`, which the registry's manifest names"
    ) as caught:
        origin(registry, fetch).fetch(0.0)
    assert "verify" == caught.value.step


def test_a_layer_that_is_longer_than_its_manifest_says_is_not_read_on(
    registry: Registry, fetch: dict[str, Any]
) -> None:
    registry.push(ARCHIVE)
    registry.spoil = lambda path, body: body * 1000 if "blobs" in path else body
    with pytest.raises(UnreachableError, match=f"answered more than {len(ARCHIVE)} bytes"):
        origin(registry, fetch).fetch(0.0)


def layer(**changes: Any) -> dict[str, Any]:
    return {"mediaType": LAYER_TYPE, "digest": digest_of(ARCHIVE), "size": len(ARCHIVE), **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"layers": []}, f"the artefact has 0 layers of type `{LAYER_TYPE}`: push it with exactly one"),
        ({"layers": [layer(), layer()]}, "the artefact has 2 layers"),
        ({"layers": [layer(mediaType="application/octet-stream")]}, "the artefact has 0 layers"),
        ({"layers": [layer(digest="sha512:ab")]}, "not the manifest of an artefact: expected `str` matching"),
        ({"layers": [layer(digest="sha256:../../x")]}, "not the manifest of an artefact: expected `str` matching"),
        ({"layers": [layer(size=-1)]}, "not the manifest of an artefact: expected `int` >= 0"),
        ({"layers": [layer(size=1 << 40)]}, "the archive has 1099511627776 bytes, at most 100663296 are fetched"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, "push an artefact with one layer"),
        ({"schemaVersion": 1}, f"the manifest is of type `{MANIFEST_TYPE}`"),
    ],
)
def test_what_is_no_bundle_is_refused(
    registry: Registry, fetch: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    registry.push(ARCHIVE, **changes)
    with pytest.raises(BundleError) as caught:
        origin(registry, fetch).fetch(0.0)
    assert expected in str(caught.value)
    assert "fetch" == caught.value.step


def test_what_is_no_manifest_is_refused(registry: Registry, fetch: dict[str, Any]) -> None:
    registry.push(ARCHIVE)
    registry.spoil = lambda path, body: b"<html>" if "manifests" in path else body
    with pytest.raises(BundleError, match="not the manifest of an artefact: "):
        origin(registry, fetch).fetch(0.0)


def test_a_tag_that_is_not_there_is_told(registry: Registry, fetch: dict[str, Any]) -> None:
    with pytest.raises(UnreachableError, match=r"/v2/policies/bank/manifests/live` answered 404: there is nothing"):
        origin(registry, fetch).fetch(0.0)


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_registry_that_wants_a_password_gets_it(
    registry: Registry, fetch: dict[str, Any], tmp_path: Path, scheme: str
) -> None:
    registry.push(ARCHIVE)
    registry.scheme, registry.password = scheme, "robot:s3cret"
    (tmp_path / "credentials").write_text("robot:s3cret\n")
    source = origin(registry, fetch, credentials_file=str(tmp_path / "credentials"))
    brought = source.fetch(0.0)
    assert brought is not None
    assert ARCHIVE == brought.archive
    registry.token = "t-2"  # the old one has expired
    registry.push(b"another")
    assert source.fetch(0.0) is not None
    registry.password = "robot:changed"
    registry.token = "t-3"
    with pytest.raises(UnreachableError, match="answered 401: it does not accept this server") as caught:
        source.fetch(0.0)
    assert "s3cret" not in str(caught.value)


def test_a_token_of_ours_is_shown_as_it_is(registry: Registry, fetch: dict[str, Any], tmp_path: Path) -> None:
    registry.push(ARCHIVE)
    registry.password, registry.token = "robot:s3cret", "workload-identity"
    (tmp_path / "token").write_text("workload-identity")
    assert origin(registry, fetch, token_file=str(tmp_path / "token")).fetch(0.0) is not None


def test_the_password_goes_to_no_token_server_that_nobody_named(
    registry: Registry, authority: trustme.CA, fetch: dict[str, Any], tmp_path: Path
) -> None:
    """A registry that was taken over could send it anywhere."""
    elsewhere = Registry(authority)
    try:
        registry.push(ARCHIVE)
        elsewhere.password = registry.password = "robot:s3cret"
        registry.realm = f"{elsewhere.base}/token"
        (tmp_path / "credentials").write_text("robot:s3cret")
        more = {"credentials_file": str(tmp_path / "credentials")}
        with pytest.raises(UnreachableError, match=r"name that host in `fetch.tokenHosts` if it is right"):
            origin(registry, fetch, **more).fetch(0.0)
        assert [] == elsewhere.asked
        assert origin(registry, fetch, **more, token_hosts=(elsewhere.host,)).fetch(0.0) is not None
    finally:
        elsewhere.stop()


def test_storage_elsewhere_sees_no_credentials(
    registry: Registry, authority: trustme.CA, fetch: dict[str, Any], tmp_path: Path
) -> None:
    storage = Registry(authority)
    try:
        storage.content[digest_of(ARCHIVE)] = ARCHIVE
        registry.push(ARCHIVE)
        registry.storage, registry.password = storage, "robot:s3cret"
        (tmp_path / "credentials").write_text("robot:s3cret")
        brought = origin(registry, fetch, credentials_file=str(tmp_path / "credentials")).fetch(0.0)
        assert brought is not None
        assert ARCHIVE == brought.archive
        ((_, path, headers),) = storage.asked
        assert path.endswith("?signature=good-for-an-hour")
        assert "authorization" not in headers
    finally:
        storage.stop()


def test_storage_cannot_send_us_in_circles_or_to_plain_http(
    registry: Registry, authority: trustme.CA, fetch: dict[str, Any]
) -> None:
    registry.push(ARCHIVE)
    registry.storage = registry
    with pytest.raises(UnreachableError, match="answered 307: redirects are not followed"):
        origin(registry, fetch).fetch(0.0)
    plain = Registry()
    try:
        registry.storage = plain
        with pytest.raises(UnreachableError, match="is not https, and `allowHttpLoopback` is off"):
            origin(registry, fetch).fetch(0.0)
        assert [] == plain.asked
    finally:
        plain.stop()


def test_plain_http_is_for_the_loopback_alone_and_only_when_allowed(fetch: dict[str, Any]) -> None:
    plain = Registry()
    try:
        plain.push(ARCHIVE)
        with pytest.raises(UnreachableError, match="cannot be reached"):
            origin(plain, fetch).fetch(0.0)  # it speaks TLS to it
        assert origin(plain, fetch, allow_http_loopback=True).fetch(0.0) is not None
    finally:
        plain.stop()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.test/bank:live", Reference("registry.test", "bank", "live", "")),
        ("registry.test:5000/a/b_c/d-e:v1.2", Reference("registry.test:5000", "a/b_c/d-e", "v1.2", "")),
        ("[::1]:5000/a:t", Reference("[::1]:5000", "a", "t", "")),
        (f"r.test/a@sha256:{'0' * 64}", Reference("r.test", "a", "", f"sha256:{'0' * 64}")),
        (f"r.test/a:t@sha256:{'0' * 64}", Reference("r.test", "a", "t", f"sha256:{'0' * 64}")),
    ],
)
def test_names_of_artefacts(text: str, expected: Reference) -> None:
    assert expected == parse_reference(text)


@pytest.mark.parametrize(
    "text",
    ["", "bank", "r.test/bank", "r.test/Bank:t", "r.test/a/../b:t", "r.test//a:t", "https://r.test/a:t", "r.test/a:t@sha256:0",
     "r.test/a:t@md5:" + "0" * 32, "r.test/a:" + "t" * 129, "u:p@r.test/a:t", "r.test/a:t/../x", "r.test/a:t?x", "r.test:x/a:t"],
)  # fmt: skip
def test_what_names_no_artefact_is_refused_by_the_settings(text: str) -> None:
    assert parse_reference(text) is None
    if text:
        with pytest.raises(ValueError, match="must be `registry/repository:tag`"):
            BundleOptions(oci=text, state_directory="/x")
