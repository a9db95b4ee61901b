"""More than a worker takes, through a real Envoy: what is refused is refused at once, in words, and nothing gets by."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
from hpack import Decoder

from extauthz.cli.demo_requests import HOST, MANAGER
from extauthz.cli.demo_stack import CHECKOUT, Issuer, Server, copy_bundle, start_server
from extauthz.cli.demo_tokens import Minter
from loadtest.header_blocks import literal
from loadtest.http2 import Answer, Question
from loadtest.openloop import Client
from tests.envoy.gateway import Launch
from tests.envoy.variants import Variant

IN_FLIGHT = 200
# As little room as can be configured: a burst is an overload.
NARROW = {
    "stock": ("transport.kind=stock", "transport.threads=1", "transport.maxConcurrent=1"),
    "loop": ("transport.kind=loop", "transport.maxQueueSeconds=0.0001"),
}


@pytest.fixture(params=sorted(NARROW))
def narrow(request: pytest.FixtureRequest, tmp_path: Path, issuer: Issuer) -> Iterator[Server]:
    with ExitStack() as stack:
        bundle = copy_bundle(CHECKOUT / "examples" / "banking", tmp_path / "bundle", issuer)
        yield start_server(tmp_path, stack, bundle, NARROW[request.param])


def questions(minter: Minter) -> Iterator[Question]:
    """A good manager, and the same with a signature that is wrong in another way each time."""
    good = minter.mint(MANAGER.claims)
    head, body, signature = good.split(".")
    number = 0
    while True:
        number += 1
        forged = f"{head}.{body}.{number:08}{signature[8:]}"
        for label, token in (("good", good), ("forged", forged)):
            headers = ((":path", "/api/loans/l-17"), ("authorization", f"Bearer {token}"))
            yield Question(literal(headers), b"", label)


def headers_of(answer: Answer) -> dict[str, str]:
    return dict(Decoder().decode(answer.body))


def test_what_is_too_much_is_a_503_that_says_when_to_come_again(
    narrow: Server, launch_envoy: Launch, minter: Minter
) -> None:
    gateway = launch_envoy(Variant(timeout="20s"), authz_port=narrow.port)
    pseudo = ((":method", "GET"), (":scheme", "http"), (":authority", HOST))
    client = Client(("127.0.0.1", gateway.port), pseudo, timeout=30, read_status=True)
    asked, found, refused = questions(minter), Counter[tuple[str, int]](), []
    for _ in range(20):
        for answers in client.closed_loop(IN_FLIGHT, 2 * IN_FLIGHT, islice(asked, 2 * IN_FLIGHT)):
            found.update((answer.question.label, answer.kind) for answer in answers)
            refused += [headers_of(answer) for answer in answers if answer.kind == 503]
        if refused and found["good", 200]:
            break
    client.close()
    assert refused, found
    assert found["good", 200] > 0
    assert 0 == found["forged", 200]
    assert {status for _, status in found} <= {200, 401, 503}
    assert all(int(headers["retry-after"]) > 0 for headers in refused), refused[0]
