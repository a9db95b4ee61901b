"""Which authorities have one reading (T-17 to T-20), and what host patterns cover."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.model.hosts import Host, HostPattern, canonicalise_host, parse_host_pattern

ONE_READING = {
    "api.example.com": ("api.example.com", 0),
    "API.Example.COM": ("api.example.com", 0),
    "api.example.com.": ("api.example.com", 0),
    "api.example.com:8443": ("api.example.com", 8443),
    "localhost": ("localhost", 0),
    "my_service.ns.svc": ("my_service.ns.svc", 0),
    "xn--mnchen-3ya.de": ("xn--mnchen-3ya.de", 0),
    "127.0.0.1:80": ("127.0.0.1", 80),
    "[::1]": ("::1", 0),
    "[::1]:8080": ("::1", 8080),
    "[2001:DB8:0::1]": ("2001:db8::1", 0),
    "1.example.com": ("1.example.com", 0),
}


@pytest.mark.parametrize(("raw", "host"), ONE_READING.items())
def test_t17_t18_a_host_has_one_spelling(raw, host):
    assert Host(*host) == canonicalise_host(raw)


TWO_READINGS = [
    *["", ".", "..", "a..b", "-a.example", "a-.example", "a b", "a\tb", "a\x00b", "a%2eb", "a/b", "a\\b", "a?b", "a#b"],
    *[
        "user@host",
        "user:pw@host",
        "a,b",
        "a,a",
        "a:b",
        "a:",
        "a:0",
        "a:080",
        "a:65536",
        "a:1:2",
        "::1",
        "[::1",
        "::1]",
    ],
    *["[]", "[::1]x", "[fe80::1%eth0]", "[fe80::1%25eth0]", "[::1]:", "[1.2.3.4]", "*.example.com", "{t}.example.com"],
    *["127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "1.2.3.4.5", "256.1.1.1", "example.0x7f", "example.1"],
    *[
        "ban\u212a.example",
        "m\u00fcnchen.de",
        "a\uff0eb",
        "\ud800",
        "!!.example",
        "a" * 64 + ".example",
        "a." * 127 + "b",
    ],
]


@pytest.mark.parametrize("raw", TWO_READINGS)
def test_t18_t19_an_authority_that_can_be_read_in_two_ways_is_refused(raw):
    assert canonicalise_host(raw) is None


MATCHES = [
    ("api.example.com", "api.example.com", {}),
    ("api.example.com", "xapi.example.com", None),
    ("*", "anything.example", {}),
    ("*.example.com", "a.b.example.com", {}),
    ("*.example.com", "example.com", None),
    ("*.example.com", "badexample.com", None),
    ("{tenant}.example.com", "acme.example.com", {"tenant": "acme"}),
    ("{tenant}.example.com", "a.acme.example.com", None),
    ("{tenant}.example.com", "example.com", None),
    ("[::1]", "::1", {}),
    ("127.0.0.1", "127.0.0.1", {}),
]


@pytest.mark.parametrize(("text", "host", "captured"), MATCHES)
def test_a_host_pattern_covers_whole_labels(text, host, captured):
    pattern = parse_host_pattern(text)

    assert isinstance(pattern, HostPattern)
    assert captured == pattern.match(host)


IMPOSSIBLE = {
    "API.example.com": "must be written `api.example.com`",
    "*.Example.com.": "must be written `*.example.com`",
    "example.com:443": "without port",
    "**.example.com": "must be a host",
    "a.*.com": "must be a host",
    "{a}": "must be a host",
    "*.[::1]": "must be a host",
    "[0:0::1]": "must be written `[::1]`",
    "": "must be a host",
    "127.1": "must be a host",
}


@pytest.mark.parametrize(("text", "words"), IMPOSSIBLE.items())
def test_a_host_pattern_that_can_never_match_is_refused_with_the_right_spelling(text, words):
    problem = parse_host_pattern(text)

    assert isinstance(problem, str)
    assert words in problem


def test_exact_hosts_come_before_captures_before_wildcards():
    texts = ["*", "*.example.com", "*.api.example.com", "{t}.example.com", "api.example.com"]

    ordered = sorted(texts, key=lambda text: parse_host_pattern(text).specificity)
    assert ["api.example.com", "{t}.example.com", "*.api.example.com", "*.example.com", "*"] == ordered


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_none_and_reading_it_again_changes_nothing(raw):
    host = canonicalise_host(raw)

    if host is not None:
        spelled = f"[{host.name}]" if ":" in host.name else host.name
        assert Host(host.name, 0) == canonicalise_host(spelled)
        assert isinstance(parse_host_pattern(spelled), HostPattern)
