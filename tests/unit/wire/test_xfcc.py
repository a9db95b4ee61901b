"""x-forwarded-client-cert: quotes, escapes, forged elements and headers that are none (T-31, T-32, MTLS-06)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.wire.xfcc import MalformedError, parse_elements, read_forwarded

HASH = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd"
ENVOY = (
    f'By=spiffe://cluster.local/ns/bank/sa/api;Hash={HASH};Cert="-----BEGIN%20CERTIFICATE-----%0Aab%3D%3D";'
    'Subject="CN=client,O=\\"Bank; Trust\\",C=GB";URI=spiffe://cluster.local/ns/web/sa/front;DNS=a.test;DNS=b.test'
)


def test_mtls06_an_element_as_envoy_writes_it_is_read_whole():
    found = read_forwarded(ENVOY, 1)

    assert "spiffe://cluster.local/ns/bank/sa/api" == found.by
    assert HASH == found.hash
    assert 'CN=client,O="Bank; Trust",C=GB' == found.subject
    assert "spiffe://cluster.local/ns/web/sa/front" == found.uri
    assert ("a.test", "b.test") == found.dns


def test_mtls06_keys_are_case_insensitive_and_spaces_around_elements_do_not_count():
    assert HASH == read_forwarded(f"by=x;HASH={HASH} , uRI=u;hASh={HASH}", 1).hash


FORGED_IN_FRONT = [
    "By=spiffe://evil;Hash=" + "e" * 64 + ";URI=spiffe://td/ns/admin/sa/root",
    'Subject="CN=x,Hash=' + "e" * 64 + '"',
    'Subject="CN=\\",Hash=' + "e" * 64 + '"',
    'Subject=";,=";URI="spiffe://td/ns/admin/sa/root"',
    "Hash=" + "e" * 64 + ";Hash=" + "f" * 64,
]


@pytest.mark.parametrize("forged", FORGED_IN_FRONT)
def test_t31_whatever_a_client_puts_in_front_our_own_element_is_the_last(forged):
    assert HASH == read_forwarded(f"{forged},Hash={HASH};URI=spiffe://td/ns/web/sa/front", 1).hash


MALFORMED = [
    *["", ",", ";", "=", "Hash", "=x", f"Hash={HASH},", f",Hash={HASH}", f"Hash={HASH};", f";Hash={HASH}"],
    *[
        f'Subject="open,Hash={HASH}',
        f'Subject="a"b;Hash={HASH}',
        f'Subject=a"b;Hash={HASH}',
        f'Subject="a\\;Hash={HASH}',
    ],
    *[f"Hash={HASH};;URI=u", f"Hash={HASH};Hash={HASH}", f"Hash={HASH};hash={'e' * 64}", "URI=u", "Hash="],
    *[f"Hash={HASH.upper()}", f"Hash={HASH[:-1]}", f"Hash={HASH}0", f"Hash={HASH[:-1]} ", f"Hash={HASH[:-2]}\n\n"],
    *[f"Hash={HASH};URI=a;URI=b", f"Hash={HASH};Subject=a;Subject=b", f"Ha sh={HASH}", f"Hash={HASH}\n"],
]


@pytest.mark.parametrize("header", MALFORMED)
def test_t31_t32_a_header_that_is_malformed_or_contradicts_itself_is_refused(header):
    with pytest.raises(MalformedError):
        read_forwarded(header, 1)


def test_t31_a_defect_in_a_foreign_element_refuses_the_whole_header():
    """A stray quote in front may hide where our element begins."""
    with pytest.raises(MalformedError):
        read_forwarded(f'Subject="CN=evil;Hash={"e" * 64},By=x;Hash={HASH};Subject="CN=front"', 1)


@pytest.mark.parametrize("header", ["a=" + " " * 60_000 + '"', 'a="' + "\\a" * 30_000, "a=b;" * 15_000, "a" * 60_000])
def test_t65_hostile_headers_are_read_in_linear_time(header):
    """The test's time limit is the assertion."""
    for _ in range(20):
        with pytest.raises(MalformedError):
            read_forwarded(header, 1)


text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
pairs = st.lists(st.tuples(st.sampled_from(["by", "uri", "dns", "subject", "cert"]), text), min_size=1, max_size=4)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(pairs, min_size=1, max_size=4))
def test_elements_written_with_quotes_read_back_as_they_were(elements):
    header = ",".join(";".join(f"{key}={_quoted(value)}" for key, value in element) for element in elements)

    assert elements == parse_elements(header)


@given(st.text(st.sampled_from('HashURI=";,\\ aé0'), max_size=40), st.integers(1, 3))
def test_any_text_is_read_or_refused(header, hops):
    with contextlib.suppress(MalformedError):
        read_forwarded(header, hops)
