"""What a path pattern covers, and which patterns cannot be meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.model.paths import PathPattern, canonicalise, parse_pattern

MATCHES = [
    ("/", "/", {}),
    ("/admin", "/admin", {}),
    ("/admin", "/admin/", {}),
    ("/admin", "/ADMIN", None),
    ("/admin", "/admin/x", None),
    ("/*", "/a", {}),
    ("/*", "/", None),
    ("/*", "/a/b", None),
    ("/**", "/", {}),
    ("/**", "/a/b/c", {}),
    ("/api/**", "/api", {}),
    ("/api/**", "/apis", None),
    ("/api/{customer}", "/api/7", {"customer": "7"}),
    ("/api/{customer}/**", "/api/7/x/y", {"customer": "7"}),
    ("/**/health", "/a/b/health", {}),
    ("/{tenant}/**/{id}", "/acme/x/y/9", {"tenant": "acme", "id": "9"}),
    ("/{tenant}/**/{id}", "/acme", None),
    ("/caf%C3%A9", "/caf%C3%A9", {}),
    ("/a%20b", "/a%20b", {}),
    ("/pkg.Service/*", "/pkg.Service/Get", {}),
    ("/pkg.Service/*", "/pkgxService/Get", None),
]


@pytest.mark.parametrize(("text", "path", "captured"), MATCHES)
def test_t14_a_pattern_covers_whole_segments_and_nothing_else(text, path, captured):
    pattern = parse_pattern(text)

    assert isinstance(pattern, PathPattern)
    assert captured == pattern.match(canonicalise(path).segments)


IMPOSSIBLE = {
    "": "must begin with `/`",
    "admin": "must begin with `/`",
    "/admin/": "must not end with `/`",
    "/a//b": "an empty segment",
    "/a/../b": "a dot segment",
    "/a%2fb": "separator",
    "/a;b": "path parameters",
    "/adm*": "whole segment",
    "/{a}b": "whole segment",
    "/{1}": "whole segment",
    "/{a}/{a}": "twice",
    "/**/a/**": "more than one `**`",
    "/a?x=1": "must not have a query",
    "/%2A": "cannot name a segment that is itself `*`",
    "/a/%2A%2a": "cannot name a segment that is itself `**`",
    "/caf\u00e9": "not percent-encoded",
}


@pytest.mark.parametrize(("text", "words"), IMPOSSIBLE.items())
def test_a_pattern_that_cannot_be_meant_is_refused_with_the_reason(text, words):
    problem = parse_pattern(text)

    assert isinstance(problem, str)
    assert words in problem


def test_an_exclamation_mark_in_a_pattern_is_itself():
    assert {} == parse_pattern("/wow!").match(canonicalise("/wow!", verbatim=True).segments)


def test_literal_patterns_are_more_specific_than_captures_than_any_number():
    texts = ["/**", "/a/**", "/a/{b}", "/a/b", "/*/b"]

    ordered = sorted(texts, key=lambda text: parse_pattern(text).specificity)
    assert ["/a/b", "/a/{b}", "/a/**", "/*/b", "/**"] == ordered


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_a_sentence(text):
    assert isinstance(parse_pattern(text), PathPattern | str)
    assert isinstance(parse_pattern("/" + text), PathPattern | str)
