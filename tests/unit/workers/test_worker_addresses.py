"""Where workers listen: one rule, and every address its own."""

import pytest

from extauthz.app.seated import journal_of
from extauthz.journal import JournalOptions, SinkOptions
from extauthz.settings import SettingsError, load_settings
from extauthz.workers import WorkersOptions, worker_addresses

ADMIN = "127.0.0.1:9001"


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:9010", ("127.0.0.1:9010", "127.0.0.1:9011", "127.0.0.1:9012")),
        ("0.0.0.0:9002", ("0.0.0.0:9002", "0.0.0.0:9003", "0.0.0.0:9004")),
        ("[::1]:9010", ("[::1]:9010", "[::1]:9011", "[::1]:9012")),
        ("unix:/run/extauthz/check.sock", tuple(f"unix:/run/extauthz/check.sock.{n}" for n in range(3))),
        ("127.0.0.1:0", ("127.0.0.1:0",) * 3),
    ],
)
def test_addresses_follow_from_the_listener_s(listen: str, expected: tuple[str, ...]) -> None:
    assert expected == worker_addresses(listen, WorkersOptions(count=3), ADMIN)


def test_one_worker_listens_where_it_always_did() -> None:
    assert ("unix:/run/a",) == worker_addresses("unix:/run/a", WorkersOptions(), ADMIN)


def test_a_list_wins_over_the_rule() -> None:
    options = WorkersOptions(count=2, addresses=("127.0.0.1:9000", "unix:/run/b"))
    assert options.addresses == worker_addresses("127.0.0.1:1", options, ADMIN)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["workers.count=2"],
            (
                "worker 1 would listen on `127.0.0.1:9001`, which is `admin.address`: move that, or name every worker's "
                'address in `workers.addresses`, such as ["127.0.0.1:9000", "127.0.0.1:9002"]'
            ),
        ),
        (
            ["workers.count=3", "listen.address=0.0.0.0:9000"],
            (
                "worker 1 would listen on `0.0.0.0:9001`, which is `admin.address`: move that, or name every worker's "
                'address in `workers.addresses`, such as ["0.0.0.0:9000", "0.0.0.0:9002", "0.0.0.0:9003"]'
            ),
        ),
        (
            ["workers.count=2", "workers.addresses=['127.0.0.1:1', '0.0.0.0:1']"],
            "`addresses` names `0.0.0.0:1` more than once: every worker has its own",
        ),
        (
            ["workers.count=2", "workers.addresses=['unix:/run/a', 'unix:/run/a']"],
            "`addresses` names `unix:/run/a` more than once: every worker has its own",
        ),
        (
            ["workers.count=3", "workers.addresses=['127.0.0.1:1']"],
            "`addresses` names 1 for 3 workers: name one for each",
        ),
        (["workers.addresses=['127.0.0.1:1']"], "`addresses` is for several workers: one listens on `listen.address`"),
        (["workers.count=2", "workers.addresses=['localhost:1', 'x']"], "`localhost:1`: an address must be"),
        (["workers.count=9", "listen.address=127.0.0.1:65530"], "9 workers need the ports from 65530 on"),
        (["workers.count=2", f"listen.address=unix:/{'a' * 106}"], "a Unix socket must be"),
        (["workers.count=0"], "must be at least 1"),
    ],
)
def test_what_cannot_be_is_said_with_the_address(flags: list[str], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {}, flags)
    assert expected in str(caught.value)


def test_a_worker_has_a_journal_and_files_of_its_own_and_the_keys_of_all() -> None:
    sinks = (SinkOptions(name="a", type="stdout"), SinkOptions(name="b", type="file", path="/log/b"))
    own = journal_of(JournalOptions(directory="/journal", sinks=sinks), 1)
    assert ("/journal/worker-1", "/journal/signing.key", "/journal/pseudonym.key") == (
        own.directory,
        own.signing_key_file,
        own.pseudonym_key_file,
    )
    assert ["", "/log/b.1"] == [sink.path for sink in own.sinks]
