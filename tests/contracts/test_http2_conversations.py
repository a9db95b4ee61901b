"""Conversations in HTTP/2 as they may come: valid ones are answered as grpc's own server answers them, mutilated ones harm nobody."""

import random
import struct
from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.transport import LoopTransport
from extauthz.transport.stock import StockTransport
from tests.contracts.raw_http2 import (
    CANCEL,
    CHECK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    RST,
    WINDOW,
    Server,
    block,
    frame,
    literal,
    message,
    trace,
    u32,
    with_headers,
)
from tests.contracts.raw_http2 import settings as settings_frame

# --- valid conversations

PATHS = st.sampled_from([CHECK] * 6 + ["/grpc.health.v1.Health/Check", "/unknown.Service/Check", "/"])
SIZES = st.sampled_from([0, 1, 4, 30, 64, 65, 1000, 5_000])  # all of them fit the first window of a connection

CALL = st.fixed_dictionaries(
    {
        "path": PATHS,
        "size": st.one_of(SIZES, st.none()),
        "pieces": st.lists(st.integers(0, 6000), max_size=6),
        "end": st.sampled_from(["last", "empty", "padded", "trailers"]),
        "coding": st.sampled_from([0x00, 0x10, 0x40]),
        "cuts": st.lists(st.integers(0, 200), max_size=3),
        "priority": st.booleans(),
        "padding": st.one_of(st.none(), st.integers(0, 255)),
        "more": st.lists(st.sampled_from(["timeout", "trace", "other"]), max_size=3, unique=True),
        "reset": st.sampled_from([False] * 9 + [True]),
    }
)  # fmt: skip
BESIDE = st.sampled_from([
    frame(PING, 0, 0, b"beside!!"),
    settings_frame(),
    settings_frame((INITIAL_WINDOW, 65535)),
    frame(PRIORITY, 0, 9, u32(0) + b"\x0f"),
    frame(WINDOW, 0, 0, u32(1000)),
])  # fmt: skip


def frames_of(stream: int, call: dict, *, padded: bool) -> list[bytes]:
    """The frames of one call; those of a header block stay together."""
    headers = with_headers(path=call["path"])
    more = {
        "timeout": ("grpc-timeout", "20S"),
        "trace": ("traceparent", trace(stream)),
        "other": (f"x-{stream % 5}", "v" * stream),
    }
    headers += [more[name] for name in call["more"]]
    spelled = block(headers[:4]) + b"".join(literal(name, value, call["coding"]) for name, value in headers[4:])
    end = END_STREAM if call["size"] is None else 0
    cuts = sorted(min(cut, len(spelled)) for cut in call["cuts"])
    parts = [spelled[a:b] for a, b in zip([0, *cuts], [*cuts, len(spelled)], strict=True)]
    first = (u32(0) + b"\x10" if call["priority"] else b"") + parts[0]
    flags = end | (PRIORITISED if call["priority"] else 0) | (END_HEADERS if len(parts) == 1 else 0)
    opened = frame(HEADERS, flags, stream, first)
    for place, part in enumerate(parts[1:], 2):
        opened += frame(CONTINUATION, END_HEADERS if place == len(parts) else 0, stream, part)
    made = [opened]
    if call["size"] is not None:
        made += data_of(stream, call, padded=padded)
    if call["reset"]:
        made = [*made[: 1 + len(made) // 2], frame(RST, 0, stream, u32(CANCEL))]
    return made


def data_of(stream: int, call: dict, *, padded: bool) -> list[bytes]:
    whole, at, made = message(raw_of(stream, call)), 0, []
    padding = call["padding"] if padded else None
    for size in [*call["pieces"], 1 << 30]:
        part = whole[at : at + min(size, 16000)] if size < 1 << 30 else b""
        at += len(part)
        if size == 1 << 30:
            rest = [whole[n : n + 16000] for n in range(at, len(whole), 16000)] or [b""]
            made += [data(stream, each, padding) for each in rest]
        else:
            made.append(data(stream, part, padding))
    if call["end"] == "last":
        made[-1] = data(stream, rest[-1], padding, END_STREAM)
    elif call["end"] == "trailers":
        made.append(frame(HEADERS, END_HEADERS | END_STREAM, stream, literal("x-end", "a", 0x40)))
    else:
        made.append(data(stream, b"", 3 if call["end"] == "padded" and padded else None, END_STREAM))
    return made


def data(stream: int, part: bytes, padding: int | None, flags: int = 0) -> bytes:
    if padding is None:
        return frame(DATA, flags, stream, part)
    return frame(DATA, flags | PADDED, stream, bytes((padding,)) + part + bytes(padding))


def raw_of(stream: int, call: dict) -> bytes:
    if call["path"] != CHECK:
        return b""
    size = call["size"]
    return (b"%d:" % stream + bytes(n % 256 for n in range(size)))[:size]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    pair = {"loop": Server(LoopTransport), "stock": Server(StockTransport, threads=1, max_concurrent=64)}
    yield pair
    for server in pair.values():
        assert server.settles()
        server.close()


def outcomes(server: Server, sent: list[bytes], streams: list[int]) -> dict[int, tuple]:
    """How each stream ended: its message, its status."""
    with server.peer() as peer:
        peer.give(0, 1 << 20)
        for part in sent:
            peer.send(part)
        assert peer.until(lambda: all(peer.streams[stream].done for stream in streams)), "no answer"
        assert not peer.failed
        return {stream: (peer.streams[stream].answer, peer.streams[stream].status) for stream in streams}


def interleaved(queues: list[list[bytes]], beside: list[bytes], order: random.Random) -> list[bytes]:
    """The frames of all calls in some order: of each call in its own, and calls begin in the order of their ids."""
    begun, sent, beside = 0, [], list(beside)
    while any(queues):
        ready = [place for place in range(min(begun + 1, len(queues))) if queues[place]]
        chosen = order.choice(ready)
        begun = max(begun, chosen + 1)
        sent.append(queues[chosen].pop(0))
        if beside and order.random() < 0.2:
            sent.append(beside.pop())
    return sent


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(min(place, len(whole)) for place in places)
    return [whole[a:b] for a, b in zip([0, *ends], [*ends, len(whole)], strict=True)]


@settings(max_examples=80)
@given(
    calls=st.lists(CALL, min_size=1, max_size=8),
    seed=st.integers(0, 1 << 32),
    beside=st.lists(BESIDE, max_size=4, unique=True),
    cuts=st.lists(st.integers(0, 40_000), max_size=8),
)
def test_any_conversation_has_the_answers_that_grpcs_own_server_gives(
    servers: dict[str, Server], calls: list[dict], seed: int, beside: list[bytes], cuts: list[int]
) -> None:
    """The oracle takes no padding; to it the same is said without."""
    streams = {2 * place + 1: call for place, call in enumerate(calls)}
    defined = [stream for stream, call in streams.items() if not call["reset"]]
    found = {}
    for kind, server in servers.items():
        queues = [frames_of(stream, call, padded=kind == "loop") for stream, call in streams.items()]
        whole = b"".join(interleaved(queues, beside, random.Random(seed)))
        found[kind] = outcomes(server, cut(whole, cuts), defined)
    for stream in defined:
        call, (answer, _) = streams[stream], found["loop"][stream]
        if call["path"] == CHECK and call["size"] is not None:
            assert answer == b"answer:" + raw_of(stream, call)[:64]
        if "health" not in call["path"] or call["size"] is not None:  # how a call without a message ends is open there
            assert found["loop"][stream] == found["stock"][stream]


# --- mutilated ones


def frames_in(sent: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The frames that these bytes are, whatever was meant."""
    at = 0
    while len(sent) - at >= 9:
        high, low, kind, flags, stream = struct.unpack_from(">HBBBI", sent, at)
        size = high << 8 | low
        yield kind, flags, stream & (1 << 31) - 1, sent[at + 9 : at + 9 + size]
        at += 9 + size


def questions(sent: bytes) -> dict[int, bytes]:
    """What these bytes can be said to ask, by stream: the first message of the DATA on it."""
    poured: dict[int, bytes] = defaultdict(bytes)
    for kind, flags, stream, payload in frames_in(sent):
        if kind == DATA:
            padding = payload[0] if flags & PADDED and payload else 0
            poured[stream] += payload[1 : len(payload) - padding] if flags & PADDED else payload
    return {
        stream: raw[5 : 5 + int.from_bytes(raw[1:5], "big")]
        for stream, raw in poured.items()
        if len(raw) >= 5 and len(raw) >= 5 + int.from_bytes(raw[1:5], "big")
    }


MUTATION = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
    st.tuples(st.just("head"), st.integers(0, 50), st.tuples(st.integers(0, 8), st.integers(0, 255))),
    st.tuples(st.just("drop"), st.integers(0, 50), st.integers(1, 3)),
    st.tuples(st.just("again"), st.integers(0, 50), st.integers(0, 50)),
    st.tuples(st.just("swap"), st.integers(0, 50), st.integers(0, 50)),
    st.tuples(st.just("stream"), st.integers(0, 50), st.integers(0, 20)),
    st.tuples(st.just("insert"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("end"), st.floats(0, 1, exclude_max=True), st.none()),
)  # fmt: skip


def mutilated(frames: list[bytes], mutations: list[tuple]) -> bytes:
    """The frames with some changed, and then some of their bytes."""
    frames = list(frames)
    for kind, one, other in mutations:
        place = one % len(frames) if isinstance(one, int) and frames else 0
        if not frames or kind in {"flip", "insert", "end"}:
            continue
        if kind == "head":
            at, value = other
            frames[place] = frames[place][:at] + bytes((value,)) + frames[place][at + 1 :]
        elif kind == "drop":
            del frames[place : place + other]
        elif kind == "again":
            frames.insert(other % len(frames), frames[place])
        elif kind == "swap":
            with_which = other % len(frames)
            frames[place], frames[with_which] = frames[with_which], frames[place]
        elif kind == "stream":
            frames[place] = frames[place][:5] + u32(other) + frames[place][9:]
    whole = bytearray(b"".join(frames))
    for kind, one, other in mutations:
        at = int(one * len(whole)) if isinstance(one, float) else 0
        if kind == "flip" and whole:
            whole[at] ^= 1 << other
        elif kind == "insert":
            whole[at:at] = other
        elif kind == "end":
            del whole[at:]
    return bytes(whole)


@settings(max_examples=150)
@given(
    calls=st.lists(CALL, min_size=1, max_size=5),
    seed=st.integers(0, 1 << 32),
    beside=st.lists(BESIDE, max_size=2, unique=True),
    mutations=st.lists(MUTATION, min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 40_000), max_size=3),
)
def test_no_mutilated_conversation_is_answered_what_it_did_not_ask_or_leaves_anything(
    servers: dict[str, Server],
    calls: list[dict],
    seed: int,
    beside: list[bytes],
    mutations: list[tuple],
    cuts: list[int],
) -> None:
    server = servers["loop"]
    queues = [frames_of(2 * place + 1, call, padded=True) for place, call in enumerate(calls)]
    sent = mutilated(interleaved(queues, beside, random.Random(seed)), mutations)
    asked = questions(sent)
    server.asked()
    with server.peer() as peer:
        for part in cut(sent, cuts):
            peer.send(part)
        peer.send(settings_frame())  # may be swallowed by a frame that was made longer
        peer.until(lambda: peer.acknowledged >= 2 or peer.failed, 0.02)
        peer.until(lambda: peer.failed or all(stream.done for stream in peer.streams.values()), 0.02)
        for stream, found in peer.streams.items():
            if found.answer is not None and found.answer.startswith(b"answer:"):
                assert found.answer == b"answer:" + asked[stream][:64]
    assert server.settles()
    assert set(server.asked()) <= set(asked.values())


def test_the_reading_of_questions_by_this_test_is_right() -> None:
    call = {"path": CHECK, "size": 1000, "pieces": [1, 3, 0], "padding": 9, "end": "padded"}
    call |= {"coding": 0, "cuts": [3], "priority": True, "more": [], "reset": False}
    assert questions(b"".join(frames_of(3, call, padded=True))) == {3: raw_of(3, call)}
