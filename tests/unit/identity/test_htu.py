"""Public URLs: one spelling, and none for what is no plain URL."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.identity.htu import Origins, compile_origins, normalise
from extauthz.model.problems import Problem
from tests.fakes import a_request


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://h", "https://h/"),
        ("https://h/", "https://h/"),
        ("https://h?q", "https://h/"),
        ("https://h#f", "https://h/"),
        ("HTTPS://H:443/A", "https://h/A"),
        ("https://h:/a", "https://h/a"),
        ("https://h.:443/a", "https://h/a"),
        ("http://h:80/a", "http://h/a"),
        ("http://h:443/a", "http://h:443/a"),
        ("https://h:80/a", "https://h:80/a"),
        ("https://[2001:DB8::1]/a", "https://[2001:db8::1]/a"),
        ("https://h/%7euser/%41%2f%3f", "https://h/~user/A%2F%3F"),
        ("https://h/a/./b/../c", "https://h/a/c"),
        ("https://h/a/%2e%2E/b", "https://h/b"),
        ("https://h/../../a", "https://h/a"),
        ("https://h/a/..", "https://h/"),
        ("https://h/a/.", "https://h/a/"),
        ("https://h/a//b", "https://h/a//b"),
        ("https://h/a/", "https://h/a/"),
        ("https://h/a;v=1,2:3@x!$&'()*+=", "https://h/a;v=1,2:3@x!$&'()*+="),
    ],
)
def test_dp_12_a_url_has_one_spelling(url: str, normal: str) -> None:
    """RFC 3986 sections 6.2.2 and 6.2.3, with the query and the fragment dropped."""
    assert normal == normalise(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "/a",
        "//h/a",
        "https:",
        "https:/h",
        "https:///a",
        "ftp://h/a",
        "javascript://h/a",
        "https://u@h/",
        "https://u:p@h/",
        "https://h\\a",
        "https://h/a\\b",
        "https://h/a b",
        "https://h/\ta",
        "https://h/a\n",
        "ht\ntps://h/",
        "https://h/a%",
        "https://h/a%2",
        "https://h/a%zz",
        "https://h/ä",
        "https://ä/",
        "https://h%41/",
        "https://h:x/",
        "https://h:0/",
        "https://h:070/",
        "https://h:70000/",
        "https://h,g/",
        "https://h/<>",
        'https://h/"',
        "https://h/{x}",
        "https://h/|",
        "https://h/^",
        "https://h/`",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://127.1/",
    ],
)
def test_dp_12_what_is_no_plain_url_has_none(url: str) -> None:
    """Library parsers drop tabs and line ends, and read user names, backslashes and short addresses in their own way."""
    assert normalise(url) is None


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x17F), max_size=40))
def test_dp_12_normalising_is_total_and_settles(tail: str) -> None:
    once = normalise(f"https://h/{tail}")
    assert once is None or normalise(once) == once


def compiled(spec: Any, hosts: tuple[str, ...] = ("api.bank.local",)) -> tuple[Origins, list[str]]:
    problems: list[Problem] = []
    origins = compile_origins(spec, hosts, problems, ("publicOrigin",))
    return origins, [f"{'.'.join(map(str, problem.location))}: {problem.message}" for problem in problems]


def url_of(spec: Any, path: str = "/a", host: str = "api.bank.local", hosts: tuple[str, ...] = ("*.local",)) -> Any:
    origins, problems = compiled(spec, hosts)
    assert [] == problems
    return origins.url(a_request(path=path, host=host))


def test_dp_12_the_public_url_is_configured_never_taken_from_what_a_proxy_says() -> None:
    assert "https://api.bank.example/a" == url_of("https://api.bank.example")
    assert "https://api.bank.example/ob/a" == url_of("https://api.bank.example/ob/")
    assert "https://api.bank.example:8443/a" == url_of("https://API.bank.example:8443")
    assert "https://api.bank.local/a" == url_of("")
    assert "https://[2001:db8::1]/a" == url_of("", host="2001:db8::1", hosts=("[2001:db8::1]",))


def test_dp_12_the_path_counts_as_the_client_wrote_it() -> None:
    """A last slash and an encoded character that means something are kept, although policies read past them."""
    assert "https://api.bank.local/a/" == url_of("", "/a/")
    assert "https://api.bank.local/%24x" == url_of("", "/%24x")
    assert "https://api.bank.local/x~" == url_of("", "/%78%7e?q=1")
    assert "https://api.bank.local/" == url_of("", "/")


def test_dp_12_public_urls_by_host() -> None:
    spec = {
        "api.bank.local": "https://api.bank.example/v2",
        "{tenant}.bank.local": "https://{tenant}.bank.example",
        "*.partner.local": "https://partners.bank.example",
    }
    assert "https://api.bank.example/v2/a" == url_of(spec)
    assert "https://acme.bank.example/a" == url_of(spec, host="acme.bank.local")
    assert "https://partners.bank.example/a" == url_of(spec, host="x.y.partner.local")
    assert "https://elsewhere.local/a" == url_of(spec, host="elsewhere.local")


def test_dp_12_without_a_public_origin_a_host_that_the_client_chooses_is_not_believed() -> None:
    """A proof made for https://evil.test would do for a Host of evil.test."""
    origins, problems = compiled("", ("*",))
    assert [] == problems
    assert origins.url(a_request(host="evil.test")) is None
    assert "https://api.bank.example/" == compiled("https://api.bank.example", ("*",))[0].url(
        a_request(host="evil.test")
    )


@pytest.mark.parametrize(
    "origin",
    [
        "api.bank.example",
        "https://",
        "https://u@h",
        "https://h?x",
        "https://h#x",
        "ftp://h",
        "https://h/{tenant}",
        "https://h/ x",
    ],
)
def test_an_origin_that_is_no_url_is_refused_when_it_is_loaded(origin: str) -> None:
    message = f"`{origin}` must be a URL such as `https://api.example.com`, with a path prefix at most"
    assert [f"publicOrigin: {message}"] == compiled(origin)[1]


def test_an_origin_in_the_clear_is_refused_but_on_loopback() -> None:
    why = "must begin with `https://`; `http://` is for loopback only"
    assert [f"publicOrigin: `http://h` {why}"] == compiled("http://h")[1]
    assert "http://localhost:10000/a" == url_of("http://localhost:10000")


def test_a_host_that_is_no_pattern_is_refused_when_it_is_loaded() -> None:
    problems = compiled({"API.bank.local": "https://h"})[1]
    assert ["publicOrigin.API.bank.local: host pattern `API.bank.local` must be written `api.bank.local`"] == problems
