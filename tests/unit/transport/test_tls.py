import logging
import time
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from extauthz.transport import (
    METHOD,
    SERVICE,
    ListenOptions,
    LoopTransport,
    TlsError,
    TlsOptions,
    Transport,
    TransportOptions,
)
from extauthz.transport.stock import StockTransport

NAME = "extauthz.example"


class Answers:
    def answer(self, arrival):
        return b"a"

    def answer_all(self, arrivals):
        return [b"a"] * len(arrivals)

    def whose(self, raw):
        return ""

    def needs_verifying(self, raw):
        return False

    def refuse(self, reason):
        return b"r"


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


def issue(ca: trustme.CA, directory: Path) -> TlsOptions:
    leaf = ca.issue_cert(NAME)
    key, chain = directory / "tls.key", directory / "tls.crt"
    leaf.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    return TlsOptions(certificate=str(chain), key=str(key))


@pytest.fixture(params=[StockTransport, LoopTransport])
def serve(request):
    def start(tls: TlsOptions) -> tuple[Transport, str]:
        listen = ListenOptions(address="127.0.0.1:0", tls=tls)
        server = request.param(listen, TransportOptions(), b"l", lambda _cause: None)
        address = server.bind()
        server.start(Answers())
        return server, address

    return start


def ask(address: str, ca: trustme.CA, client: trustme.LeafCert | None = None, timeout: float = 5) -> bytes:
    credentials = grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(),
        client.private_key_pem.bytes() if client else None,
        b"".join(pem.bytes() for pem in client.cert_chain_pems) if client else None,
    )
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(address, credentials, options=options) as channel:
        return channel.unary_unary(f"/{SERVICE}/{METHOD}")(b"x", timeout=timeout)


def test_a_check_is_answered_over_tls(ca: trustme.CA, tmp_path: Path, serve) -> None:
    server, address = serve(issue(ca, tmp_path))
    assert b"a" == ask(address, ca)
    server.stop(0)


def test_plain_text_does_not_get_through_to_a_tls_listener(ca: trustme.CA, tmp_path: Path, serve) -> None:
    server, address = serve(issue(ca, tmp_path))
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(f"/{SERVICE}/{METHOD}")(b"x", timeout=1)
    server.stop(0)


def test_t61_with_a_client_ca_only_its_clients_get_through(ca: trustme.CA, tmp_path: Path, serve) -> None:
    mesh, stranger = trustme.CA(), trustme.CA()
    mesh.cert_pem.write_to_path(tmp_path / "clients.pem")
    plain = issue(ca, tmp_path)
    tls = TlsOptions(certificate=plain.certificate, key=plain.key, client_ca=str(tmp_path / "clients.pem"))
    server, address = serve(tls)
    assert b"a" == ask(address, ca, mesh.issue_cert("envoy.example"))
    for client in (None, stranger.issue_cert("envoy.example")):
        with pytest.raises(grpc.RpcError) as error:
            ask(address, ca, client, timeout=1)
        assert error.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    server.stop(0)


def test_a_replaced_certificate_is_used_by_the_next_connection(ca: trustme.CA, tmp_path: Path, caplog, serve) -> None:
    caplog.set_level(logging.INFO)
    server, address = serve(issue(ca, tmp_path))
    assert b"a" == ask(address, ca)
    other = trustme.CA()
    issue(other, tmp_path)
    assert b"a" == ask(address, other)
    with pytest.raises(grpc.RpcError):
        ask(address, ca, timeout=1)
    assert 1 == caplog.text.count("TLS certificate replaced")
    server.stop(0)


def test_a_certificate_replaced_by_symlink_swap_is_used(ca: trustme.CA, tmp_path: Path, serve) -> None:
    other = trustme.CA()
    for name, issuer in (("one", ca), ("two", other)):
        (tmp_path / name).mkdir()
        issue(issuer, tmp_path / name)
    (tmp_path / "now").symlink_to("one")
    tls = TlsOptions(certificate=str(tmp_path / "now" / "tls.crt"), key=str(tmp_path / "now" / "tls.key"))
    server, address = serve(tls)
    assert b"a" == ask(address, ca)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "now")
    assert b"a" == ask(address, other)
    server.stop(0)


def test_damaged_new_files_keep_the_old_in_force_and_are_reported_once(
    ca: trustme.CA, tmp_path: Path, caplog, serve
) -> None:
    tls = issue(ca, tmp_path)
    server, address = serve(tls)
    time.sleep(0.01)
    Path(tls.certificate).write_text("damaged")
    for _ in range(3):
        assert b"a" == ask(address, ca)
    assert 1 == len([record for record in caplog.records if "the old stay in force" in record.message])
    Path(tls.key).unlink()
    assert b"a" == ask(address, ca)
    server.stop(0)


def test_a_new_key_without_its_certificate_waits_for_it(ca: trustme.CA, tmp_path: Path, serve) -> None:
    """Two files cannot be replaced at once: between them the old pair stays in force."""
    tls = issue(ca, tmp_path)
    server, address = serve(tls)
    other = trustme.CA()
    leaf = other.issue_cert(NAME)
    leaf.private_key_pem.write_to_path(tls.key)
    assert b"a" == ask(address, ca)
    Path(tls.certificate).write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    assert b"a" == ask(address, other)
    server.stop(0)


def refused(tls: TlsOptions) -> str:
    with pytest.raises(TlsError) as error:
        StockTransport(ListenOptions(tls=tls), TransportOptions(), b"l", lambda _cause: None)
    return str(error.value)


def test_a_missing_key_is_named(ca: trustme.CA, tmp_path: Path) -> None:
    tls = issue(ca, tmp_path)
    Path(tls.key).unlink()
    assert f"the key `{tls.key}` cannot be read: no such file or directory" == refused(tls)


def test_a_directory_in_place_of_a_key_is_named(ca: trustme.CA, tmp_path: Path) -> None:
    tls = issue(ca, tmp_path)
    Path(tls.key).unlink()
    Path(tls.key).mkdir()
    assert f"the key `{tls.key}` cannot be read: is a directory" == refused(tls)


def test_an_encrypted_key_is_refused_in_words(ca: trustme.CA, tmp_path: Path) -> None:
    tls = issue(ca, tmp_path)
    key = load_pem_private_key(Path(tls.key).read_bytes(), None)
    Path(tls.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert f"the key `{tls.key}` is encrypted: give one without a passphrase" == refused(tls)


def test_a_key_of_another_certificate_is_refused(ca: trustme.CA, tmp_path: Path) -> None:
    tls = issue(ca, tmp_path)
    ca.issue_cert(NAME).private_key_pem.write_to_path(tls.key)
    assert f"the key `{tls.key}` does not belong to the certificate `{tls.certificate}`" == refused(tls)


@pytest.mark.parametrize("field", ["certificate", "key"])
def test_damaged_files_are_named(ca: trustme.CA, tmp_path: Path, field: str) -> None:
    tls = issue(ca, tmp_path)
    path = Path(getattr(tls, field))
    path.write_text("damaged")
    assert f"the {field} `{path}` is not in PEM or is damaged" == refused(tls)


def test_a_damaged_client_ca_is_named(ca: trustme.CA, tmp_path: Path) -> None:
    plain = issue(ca, tmp_path)
    path = tmp_path / "clients.pem"
    path.write_text("damaged")
    tls = TlsOptions(certificate=plain.certificate, key=plain.key, client_ca=str(path))
    assert f"the client CA `{path}` is not in PEM or is damaged" == refused(tls)
