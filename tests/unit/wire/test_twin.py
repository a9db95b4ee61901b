"""The second implementation builds checks from JSON as `grpcurl` and access logs write it."""

import subprocess
import sys

import pytest

from extauthz.model.request import Request
from extauthz.wire import InboundOptions, read_check
from extauthz.wire.twin import CheckError, check_from_json

CAMEL = """{"attributes": {
  "source": {"address": {"socketAddress": {"address": "10.0.0.7", "portValue": 1}}, "principal": "spiffe://td/ns/a/sa/b"},
  "request": {"time": "2026-01-07T10:00:00Z",
    "http": {"id": "7", "method": "GET", "path": "/a", "host": "h", "size": "12", "headers": {"x-a": "b"}}},
  "contextExtensions": {"k": "v"}, "metadataContext": {"filterMetadata": {"ns": {"n": 1}}}, "tlsSession": {"sni": "s"}}}"""
SNAKE = """{"attributes": {
  "source": {"address": {"socket_address": {"address": "10.0.0.7", "port_value": 1}}, "principal": "spiffe://td/ns/a/sa/b"},
  "request": {"time": "2026-01-07T10:00:00Z",
    "http": {"id": "7", "method": "GET", "path": "/a", "host": "h", "size": 12, "headers": {"x-a": "b"}}},
  "context_extensions": {"k": "v"}, "metadata_context": {"filter_metadata": {"ns": {"n": 1}}}, "tls_session": {"sni": "s"}}}"""


def test_both_spellings_of_field_names_give_the_same_request():
    assert check_from_json(CAMEL) == check_from_json(SNAKE)
    request = read_check(check_from_json(CAMEL), InboundOptions())

    assert isinstance(request, Request)
    assert ("10.0.0.7", "spiffe://td/ns/a/sa/b", "b") == (
        request.source.address,
        request.source.principal,
        request.headers.get("x-a"),
    )
    assert (("ns", b'{"n":1.0}'),) == request.metadata


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("{", "line 1"),
        ("[]", "an object"),
        ("null", "an object"),
        ('"x"', "an object"),
        ('{"atributes": {}}', "atributes"),
        ('{"attributes": {"request": {"http": {"verb": "GET"}}}}', "verb"),
        ('{"attributes": {"request": {"http": {"method": 5}}}}', "method"),
        ('{"attributes": {"request": {"http": 5}}}', "not a CheckRequest"),
        ('{"attributes": {"request": {"time": "yesterday"}}}', "not a CheckRequest"),
        ("\ud800", "not a CheckRequest"),
    ],
)
def test_json_that_is_no_check_request_is_refused_with_what_is_wrong(text, words):
    with pytest.raises(CheckError, match="not a CheckRequest") as raised:
        check_from_json(text)

    assert words in str(raised.value)


def test_serving_does_not_import_the_second_implementation():
    """It takes 0.4 s and tens of megabytes, which a server does not need."""
    code = "import sys, extauthz.wire, extauthz.wire.twin; sys.exit('envoy_data_plane.envoy.service.auth.v3' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
