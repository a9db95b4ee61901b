"""Ids that join a request with its answer and its trace: RS-01, TR-01."""

import re

import pytest

from tests.unit.handler.test_handler import UUID, Asked

MIXED = "93BAC548-d2de-4546-B106-880a5018460d"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("path", ["/public/a", "/private/a", "//"])
def test_rs_01_the_clients_interaction_id_comes_back_as_it_was_on_every_answer(path: str) -> None:
    asked = Asked()
    answer = asked.ask(path=path, headers=(("x-fapi-interaction-id", MIXED),))
    assert MIXED == answer.client_header("x-fapi-interaction-id")
    assert MIXED == asked.journal.records[-1].interaction_id
    assert (MIXED if answer.allowed else None) == answer.upstream_header("x-fapi-interaction-id")


@pytest.mark.parametrize("path", ["/public/a", "/private/a", "//"])
@pytest.mark.parametrize("sent", [None, "", "1", MIXED + "x", f"{{{MIXED}}}", "00000000-0000-0000-0000-000000000000"])
def test_rs_01_an_id_that_is_missing_or_none_is_replaced_and_never_repeated(path: str, sent: str | None) -> None:
    headers = () if sent is None else (("x-fapi-interaction-id", sent),)
    answer = Asked().ask(path=path, headers=headers)
    made = answer.client_header("x-fapi-interaction-id")
    assert made is not None
    assert made != sent
    assert re.fullmatch(UUID, made)


def test_tr_01_a_well_formed_traceparent_is_kept() -> None:
    asked = Asked()
    assert asked.ask(trace=TRACE).allowed
    assert TRACE == asked.journal.records[-1].traceparent


@pytest.mark.parametrize(
    "trace",
    [
        "ff" + TRACE[2:],
        TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        TRACE.replace("b7ad6b7169203331", "0" * 16),
        TRACE.upper(),
        TRACE[:-1],
        TRACE + "-x",
        TRACE.replace("-", "_"),
        "x" * 10_000,
        "\n",
    ],
)
def test_tr_01_a_malformed_traceparent_is_ignored_and_changes_nothing(trace: str) -> None:
    asked = Asked()
    assert asked.ask(trace=trace).allowed
    assert "" == asked.journal.records[-1].traceparent
