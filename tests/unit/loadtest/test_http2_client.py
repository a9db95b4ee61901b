"""The load client against a stock gRPC server and against an independent implementation of HPACK."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import grpc
import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from loadtest.header_blocks import literal, status_of
from loadtest.http2 import FAILED, LATE, Question
from loadtest.openloop import Client, always, poisson
from loadtest.questions import GRPC_HEADERS, framed, grpc_headers

_SERVICE = "envoy.service.auth.v3.Authorization"
_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300)


class Scripted:
    """A stock gRPC server that answers with the question; some questions take long, fail, or are held."""

    def __init__(self) -> None:
        self.server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_concurrent_streams", 100)])
        self.metadata: list[tuple[str, str]] = []
        handler: Any = grpc.unary_unary_rpc_method_handler(self._check)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Check": handler}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def _check(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata = [(key, str(value)) for key, value in context.invocation_metadata()]
        if raw == b"fail":
            context.abort(grpc.StatusCode.INTERNAL, "as asked")
        if raw == b"slow":
            time.sleep(1.5)
        return raw


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    found = Scripted()
    yield found
    found.server.stop(0).wait()


def ask(client: Client, bodies: list[bytes]) -> list[Any]:
    questions = iter([Question(b"", framed(body), body.decode()[:9]) for body in bodies])
    answers = [each for some in client.closed_loop(len(bodies), len(bodies), questions) for each in some]
    client.close()
    return answers


@given(st.lists(st.tuples(_text.map(str.lower), _text), max_size=8))
def test_header_blocks_are_hpack(headers: list[tuple[str, str]]) -> None:
    for indexed in (False, True):
        decoder = Decoder(max_header_list_size=1 << 20)
        assert headers == [(name, value) for name, value in decoder.decode(literal(headers, indexed=indexed))]


@given(st.integers(100, 599), st.booleans())
def test_a_status_is_read_as_other_encoders_write_it(status: int, huffman: bool) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    first, second = (encoder.encode([(":status", str(status)), ("server", "envoy")], huffman=huffman) for _ in (1, 2))
    assert b"\x20" == first[:1], "the first block says how large the table is"
    assert (status, status) == (status_of(first), status_of(second))


def test_what_is_no_status_is_none() -> None:
    assert [0, 0, 0] == [status_of(block) for block in (b"", b"\x00\x01a\x01b", b"\x82")]


def test_constant_headers_reach_the_server_with_every_question(scripted: Scripted) -> None:
    """The first time in full, then by their index: the server sees no difference."""
    client = Client(("127.0.0.1", scripted.port), GRPC_HEADERS, timeout=20)
    for _ in range(3):
        questions = always(Question(b"", framed(b"x")))
        assert [6] == [each.kind for some in client.closed_loop(1, 1, questions) for each in some]
        assert ("x-forwarded-for", "10.1.2.3") in scripted.metadata
    client.close()


def test_each_answer_belongs_to_its_question(scripted: Scripted) -> None:
    bodies = [f"question-{number}".encode() * (number % 90 + 1) for number in range(500)]
    answers = ask(Client(("127.0.0.1", scripted.port), GRPC_HEADERS, connections=2, timeout=20), bodies)
    assert 500 == len(answers)
    assert all(answer.body == answer.question.body for answer in answers)


def test_more_than_the_server_s_windows_and_streams_hold_still_arrives(scripted: Scripted) -> None:
    """250 questions of 40 kB at once: the server takes 100 streams and 64 kB at a time."""
    answers = ask(Client(("127.0.0.1", scripted.port), GRPC_HEADERS, timeout=60), [b"y" * 40_000] * 250)
    assert [40_005] * 250 == [answer.kind for answer in answers]


def test_an_error_is_no_answer(scripted: Scripted) -> None:
    answers = ask(Client(("127.0.0.1", scripted.port), GRPC_HEADERS, timeout=20), [b"fail", b"fine"])
    assert {"fail": FAILED, "fine": 9} == {answer.question.label: answer.kind for answer in answers}


def test_what_is_not_answered_in_time_is_cancelled_and_late(scripted: Scripted) -> None:
    answers = ask(Client(("127.0.0.1", scripted.port), grpc_headers(20), timeout=1.0), [b"slow", b"fine"])
    assert {"slow": LATE, "fine": 9} == {answer.question.label: answer.kind for answer in answers}


def test_latency_counts_from_when_a_question_was_due() -> None:
    """No coordinated omission: a server that stands still for 0.3 s is charged for all that was due meanwhile."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = Client(("127.0.0.1", listener.getsockname()[1]), GRPC_HEADERS, timeout=5)
    connection, _ = listener.accept()
    stalled = threading.Event()

    def stall() -> None:
        stalled.wait(0.3)
        head = struct.Struct(">HBBBI")
        frames = b""
        for stream in range(1, 41, 2):
            body = framed(b"ok")
            frames += head.pack(0, len(body), 0, 1, stream) + body
        connection.sendall(frames)

    thread = threading.Thread(target=stall)
    thread.start()
    offsets = [number * 0.01 for number in range(20)]
    answers = [each for some in client.open_loop(offsets, always(Question(b"", b"x"))) for each in some]
    thread.join()
    client.close()
    connection.close()
    listener.close()
    latencies = sorted(round(each.ended - each.due, 3) for each in answers)
    assert 20 == len(latencies)
    # Due every 10 ms and all answered at the same time: latencies step by 10 ms.
    steps = {round(later - earlier, 2) for earlier, later in pairwise(latencies)}
    assert {0.01} == steps


def test_a_server_that_hangs_up_is_asked_again_on_a_new_connection(scripted: Scripted) -> None:
    address = ("127.0.0.1", scripted.port)
    client = Client(address, GRPC_HEADERS, timeout=20)
    first = ask_once(client)
    scripted.server.stop(0).wait()
    again = Scripted.__new__(Scripted)
    again.server = grpc.server(ThreadPoolExecutor(2))
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda raw, _context: raw)
    again.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Check": handler}),))
    again.server.add_insecure_port(f"127.0.0.1:{scripted.port}")
    again.server.start()
    client.turn(0.2)
    assert (6, 6) == (first, ask_once(client))
    client.close()
    again.server.stop(0).wait()


def ask_once(client: Client) -> int:
    (answer,) = [each for some in client.closed_loop(1, 1, always(Question(b"", framed(b"x")))) for each in some]
    return int(answer.kind)


def test_arrivals_are_as_many_as_asked_for_and_never_in_order_of_the_clock_alone() -> None:
    offsets = list(poisson(1000, 20))
    assert offsets == sorted(offsets)
    assert 20_000 == pytest.approx(len(offsets), rel=0.05)
    gaps = [later - earlier for earlier, later in pairwise(offsets)]
    # Exponential gaps: about 63 % are shorter than the mean.
    assert 0.63 == pytest.approx(sum(gap < 0.001 for gap in gaps) / len(gaps), abs=0.02)
