"""Logs are one line of JSON a message, without secrets, without floods."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.telemetry import LogOptions, configure_logs, mask
from extauthz.telemetry.logs import JsonFormatter

TOKEN = "eyJhbGciOiJQUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"
log = logging.getLogger("extauthz.test")


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def stream(clock: list[float]) -> Iterator[io.StringIO]:
    root, own = logging.getLogger(), logging.getLogger("extauthz")
    before = (root.handlers[:], root.level, own.level)
    made = io.StringIO()
    configure_logs(LogOptions(), made, lambda: clock[0])
    yield made
    root.handlers[:], root.level, own.level = before[0], before[1], before[2]
    root.setLevel(before[1])
    own.setLevel(before[2])


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_message_is_one_line_of_json_with_its_extra_fields(stream: io.StringIO) -> None:
    log.info("bundle activated", extra={"revision": "2026-11", "documents": 12})
    (line,) = lines(stream)
    assert ("info", "extauthz.test", "bundle activated", "2026-11", 12) == (
        line["level"],
        line["logger"],
        line["message"],
        line["revision"],
        line["documents"],
    )


@settings(deadline=None)
@given(text=st.text() | st.text(alphabet="\n\r\x00\x1b\x7f\u2028\u202e\ud800ab", min_size=1))
def test_no_text_breaks_the_line_or_reaches_a_terminal(text: str) -> None:
    """T-68: control characters, line separators and marks that turn text around are escaped."""
    record = logging.makeLogRecord({"msg": "found %s", "args": (text,), "host": text, "name": "extauthz"})
    written = JsonFormatter().format(record)
    assert all(" " <= char < "\x7f" for char in written)
    json.loads(written)


@pytest.mark.parametrize(
    "text",
    [
        f"authorization: Bearer {TOKEN}",
        f"Authorization: Bearer {TOKEN[:20]}",
        f"token {TOKEN} was refused",
        f"'{TOKEN}.more.parts'",
        "authorization: Basic dXNlcjpwYXNzd29yZA==",
        "authorization=dXNlcjpwYXNzd29yZA",
        "DPoP dXNlcjpwYXNzd29yZA",
        "cookie: session=dXNlcjpwYXNzd29yZA; other=1",
        "https://a.test/?access_token=dXNlcjpwYXNzd29yZA&x=1",
        '{"client_secret": "dXNlcjpwYXNzd29yZA"}',
        "password=dXNlcjpwYXNzd29yZA",
        "-----BEGIN PRIVATE KEY-----\ndXNlcjpwYXNzd29yZA==\n-----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_credential_is_masked(stream: io.StringIO, text: str) -> None:
    log.warning("failed: %s", text, extra={"detail": text})
    written = stream.getvalue()
    for secret in ("dXNlcjpwYXNzd29yZA", "c2lnbmF0dXJl", "eyJzdWIi", TOKEN[:20]):
        assert secret not in written


@pytest.mark.parametrize("text", ["policy `customers` loaded", "tenant acme", "reason token_expired", "eye of the key"])
def test_ordinary_words_are_left_alone(text: str) -> None:
    assert text == mask(text)


def test_a_field_named_like_a_secret_is_masked_by_its_name(stream: io.StringIO) -> None:
    log.warning("odd", extra={"client_secret": "plain-words", "password": "hunter2"})
    assert "plain-words" not in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_secrets_in_a_traceback_are_masked(stream: io.StringIO) -> None:
    try:
        int(f"Bearer {TOKEN}")
    except ValueError:
        log.exception("a check failed")
    (line,) = lines(stream)
    assert "invalid literal for int() with base 10: 'Bearer <token>'" in line["error"]


def test_a_repeated_message_is_written_a_few_times_and_then_counted(stream: io.StringIO, clock: list[float]) -> None:
    for number in range(100):
        log.warning("keys of %s cannot be fetched", f"issuer-{number}")
    log.warning("another message")
    assert 6 == len(lines(stream))
    clock[0] = 61.0
    log.warning("keys of %s cannot be fetched", "issuer-1")
    assert 95 == lines(stream)[-1]["suppressed"]


def test_the_memory_of_the_limit_is_bounded(stream: io.StringIO) -> None:
    for number in range(3000):
        log.warning(f"message {number}")  # noqa: G004 - a careless caller
    limit = logging.getLogger().handlers[0].filters[0]
    assert len(limit._seen) <= 1000


def test_libraries_speak_only_when_something_is_wrong(stream: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://a.test/?access_token=x")
    logging.getLogger("grpc").warning("odd")
    assert ["grpc"] == [line["logger"] for line in lines(stream)]
