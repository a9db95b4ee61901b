import os
import socket
import stat
from pathlib import Path

import grpc
import pytest

from extauthz.model.addresses import parse_address
from extauthz.transport import METHOD, SERVICE, ListenOptions, LoopTransport, TransportOptions
from extauthz.transport.stock import StockTransport


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


@pytest.fixture(params=[StockTransport, LoopTransport])
def transport(request):
    return lambda address: request.param(ListenOptions(address=address), TransportOptions(), b"l", lambda _cause: None)


def ask(address: str) -> bytes:
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary(f"/{SERVICE}/{METHOD}")(b"x", timeout=5)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:9000", "0.0.0.0:0", "[::1]:9000", "[::]:65535", "unix:/run/extauthz/check.sock"]
)
def test_an_address_is_read_and_written_alike(text: str) -> None:
    assert text == str(parse_address(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("localhost:9000", "`localhost:9000`: an address must be `IP:port`, `[IPv6]:port` or `unix:/path`"),
        (":9000", "`:9000`: an address must be `IP:port`, `[IPv6]:port` or `unix:/path`"),
        ("9000", "`9000`: an address must be `IP:port`, `[IPv6]:port` or `unix:/path`"),
        ("::1:9000", "`::1:9000`: an address must be `IP:port`, `[IPv6]:port` or `unix:/path`"),
        ("127.0.0.1:99999", "`127.0.0.1:99999`: a port must be a number from 0 to 65535"),
        ("127.0.0.1:-1", "`127.0.0.1:-1`: a port must be a number from 0 to 65535"),
        ("unix:relative.sock", "`unix:relative.sock`: a Unix socket must be `unix:/path`, at most 107 bytes"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".+") as error:
        parse_address(text)
    assert message == str(error.value)


def test_port_0_is_answered_with_the_actual_port(transport) -> None:
    server = transport("127.0.0.1:0")
    address = server.bind()
    server.start(Answers())
    assert int(address.rpartition(":")[2]) > 0
    assert b"a" == ask(address)
    server.stop(0)


def test_an_occupied_port_is_an_os_error_that_names_it(transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match=r".+") as error:
            transport(address).bind()
    assert f"cannot listen on `{address}`: address already in use" == str(error.value)


def test_two_servers_never_share_a_port(transport) -> None:
    first = transport("127.0.0.1:0")
    address = first.bind()
    first.start(Answers())
    with pytest.raises(OSError, match="already in use"):
        transport(address).bind()
    assert b"a" == ask(address)
    first.stop(0)


def test_a_unix_socket_serves_with_0660_and_disappears_with_the_server(tmp_path: Path, transport) -> None:
    path = tmp_path / "check.sock"
    server = transport(f"unix:{path}")
    assert f"unix:{path}" == server.bind()
    server.start(Answers())
    assert 0o660 == stat.S_IMODE(path.stat().st_mode)
    assert b"a" == ask(f"unix:{path}")
    server.stop(0)
    assert not path.exists()


def test_the_umask_of_the_process_is_what_it_was(tmp_path: Path, transport) -> None:
    before = os.umask(0o022)
    try:
        server = transport(f"unix:{tmp_path / 's'}")
        server.bind()
        assert 0o022 == os.umask(0o022)
        server.start(Answers())
        server.stop(0)
    finally:
        os.umask(before)


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path, transport) -> None:
    path = tmp_path / "check.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = transport(f"unix:{path}")
    server.bind()
    server.start(Answers())
    assert b"a" == ask(f"unix:{path}")
    server.stop(0)


def test_a_socket_that_another_process_serves_is_left_alone(tmp_path: Path, transport) -> None:
    path = tmp_path / "check.sock"
    first = transport(f"unix:{path}")
    first.bind()
    first.start(Answers())
    with pytest.raises(OSError, match=r".+") as error:
        transport(f"unix:{path}").bind()
    assert f"cannot listen on `unix:{path}`: another process listens on it" == str(error.value)
    assert b"a" == ask(f"unix:{path}")
    first.stop(0)


def test_a_file_in_the_sockets_place_is_not_removed(tmp_path: Path, transport) -> None:
    path = tmp_path / "check.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="a file that is no socket is in its place"):
        transport(f"unix:{path}").bind()
    assert "precious" == path.read_text()


def test_a_socket_in_a_missing_directory_is_refused(tmp_path: Path, transport) -> None:
    with pytest.raises(OSError, match="no directory"):
        transport(f"unix:{tmp_path / 'missing' / 's'}").bind()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_server_that_never_started_gives_its_address_back(tmp_path: Path, kind: str, transport) -> None:
    """When a later step of the start fails, nothing must stay behind."""
    server = transport("127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path / 's'}")
    address = server.bind()
    server.stop(0)
    again = transport(address)
    assert address == again.bind()
    again.start(Answers())
    assert b"a" == ask(address)
    again.stop(0)
    assert [] == list(tmp_path.iterdir())
