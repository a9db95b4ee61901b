"""Used proofs in a real Redis that several processes share; started here, on loopback, ended here."""

import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from extauthz.model.decision import FirstUse, IntrospectToken
from extauthz.sources.redis_replay import RedisReplayStore
from extauthz.sources.replay_store import RedisOptions, ReplayOptions

SOON = 3600.0
PASSWORD = "correct-horse-battery"


class Server:
    """A redis-server of its own, in memory alone."""

    def __init__(self, directory: Path, *more: str, port: int = 0) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed: apt-get install redis-server")
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            self.port = free.getsockname()[1]
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(directory), *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=PASSWORD)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.stop()
        pytest.fail("redis-server did not start")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("redis"), "--requirepass", PASSWORD)
    yield found
    found.stop()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return file


def store(url: str, password_file: Path | None = None, **options: object) -> RedisReplayStore:
    """One replica. Generous with time, for the machine may be busy."""
    more = {"timeout_seconds": 2.0, "password_file": str(password_file or ""), **options}
    replay = ReplayOptions(store="redis", redis=RedisOptions(url=url, **more))  # type: ignore[arg-type]
    return RedisReplayStore(replay, time.time)


def use(number: int, seconds: int = 90) -> FirstUse:
    return FirstUse(number.to_bytes(32), int(time.time()) + seconds)


def until() -> float:
    return time.time() + SOON


def test_dp_17_what_one_replica_saw_another_refuses(server: Server, password_file: Path) -> None:
    one, two = store(server.url, password_file), store(server.url, password_file)
    question = use(1)
    assert one.first_use(question.key, question.expires) is None
    assert one.ask(question, until()) is True
    assert two.first_use(question.key, question.expires) is None
    assert two.ask(question, until()) is False
    assert (0, 1) == (one.status().replayed, two.status().replayed)
    for replica in (one, two):
        assert replica.recall(question) is False
        replica.close()


def test_dp_17_of_many_replicas_with_one_proof_exactly_one_is_the_first(server: Server, password_file: Path) -> None:
    replicas = [store(server.url, password_file) for _ in range(6)]
    questions = [use(number, 120) for number in range(1000, 1100)]
    barrier, told = threading.Barrier(6), [0] * 6

    def ask(index: int) -> None:
        barrier.wait()
        told[index] = sum(replicas[index].ask(question, until()) is True for question in questions)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 100 == sum(told)
    for replica in replicas:
        replica.close()


def test_dp_17_redis_forgets_a_proof_when_it_cannot_be_used_any_more(server: Server, password_file: Path) -> None:
    replica = store(server.url, password_file, prefix="t:")
    question = use(2, 90)
    replica.ask(question, until())
    with server.client() as client:
        (name,) = client.keys("t:*")
        assert b"t:" + question.key.hex().encode() == name
        assert b"1" == client.get(name)
        assert 85 <= client.ttl(name) <= 90
    replica.close()


def test_a_question_of_another_kind_is_not_ours(server: Server, password_file: Path) -> None:
    replica = store(server.url, password_file)
    assert replica.recall(IntrospectToken("bank", "x")) is None
    assert replica.ask(IntrospectToken("bank", "x"), until()) is None
    assert replica.ask(use(3), time.time() - 1) is None
    replica.close()


def test_the_password_is_read_from_its_file_and_a_wrong_one_answers_nothing(
    server: Server, password_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    password_file.write_text("wrong")
    replica = store(server.url, password_file)
    assert replica.ask(use(4), until()) is None
    assert "AuthenticationError" in caplog.text
    assert "wrong" not in caplog.text
    password_file.write_text(PASSWORD)
    assert replica.ask(use(5), until()) is True
    password_file.unlink()
    replica.close()
    assert store(server.url, password_file).ask(use(6), until()) is None


def test_a_store_that_may_forget_is_reported(server: Server, password_file: Path, tmp_path: Path) -> None:
    replica = store(server.url, password_file)
    assert "" == replica.probe()
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert "maxmemory-policy is `allkeys-lru`, it must be `noeviction`" in replica.probe()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        assert replica.ask(use(7), until()) is None  # DP-18: a full store lets nothing in
        client.config_set("maxmemory", 0)
    assert replica.ask(use(8), until()) is True
    replica.close()


def test_dp_18_a_store_that_is_down_answers_nothing_and_is_found_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server = Server(tmp_path)
    replica = store(server.url)
    question = use(9)
    assert replica.ask(question, until()) is True
    server.stop()
    assert "does not answer" in replica.probe()
    assert [None] * 5 == [replica.ask(use(100 + number), until()) for number in range(5)]
    assert replica.ask(question, until()) is False  # what went through this process is known all the same
    assert replica.ask(use(100), until()) is False
    assert not replica.status().available
    assert 1 == caplog.text.count("the replay store does not answer")
    back = Server(tmp_path, port=server.port)
    deadline = time.monotonic() + 10
    number = 200
    while replica.ask(use(number), until()) is None and time.monotonic() < deadline:
        number += 1
        time.sleep(0.05)
    assert replica.status().available
    assert "the replay store answers again" in caplog.text
    replica.close()
    back.stop()


def test_dp_18_while_the_store_is_down_most_checks_do_not_wait_for_it(tmp_path: Path) -> None:
    """A listener that never answers: three wait for the timeout, then nobody for a moment."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        replica = store(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout_seconds=0.05)
        began = time.monotonic()
        for number in range(3):
            replica.ask(use(number), until())
        waited = time.monotonic()
        for number in range(3, 500):
            assert replica.ask(use(number), until()) is None
        assert waited - began >= 0.14
        assert time.monotonic() - waited < waited - began + 0.2
        replica.close()


@pytest.mark.parametrize("url", ["http://h", "redis://user:secret@h", "redis://", "rediss://u@h/0", "unix:/x"])
def test_addresses_with_secrets_or_of_other_kinds_are_refused(url: str) -> None:

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": url}, RedisOptions)


def test_dp_17_what_ended_while_its_check_waited_was_used_for_all_that_is_known(
    server: Server, password_file: Path
) -> None:
    replica = store(server.url, password_file)
    assert replica.ask(use(77_000, seconds=0), until()) is False
    assert 1 == replica.status().replayed
    replica.close()
