"""Pseudonyms link what must be linkable, and nothing else."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from extauthz.journal.pseudonym import PeriodKey, Pseudonyms, advance, parse_key

KEY = parse_key(b"0123456789abcdef0123456789abcdef")


def names(key: PeriodKey | str = KEY) -> Pseudonyms:
    assert isinstance(key, PeriodKey)
    return Pseudonyms(key, b"u" * 32)


@given(
    value=st.text(min_size=1), other=st.text(min_size=1), tenant=st.text(), kind=st.sampled_from(["subject", "address"])
)
def test_a_value_has_one_pseudonym_within_tenant_and_month(value: str, other: str, tenant: str, kind: str) -> None:
    first, second = names(), names()
    assert first.of(kind, value, tenant, "2026-11") == second.of(kind, value, tenant, "2026-11")
    assert (value == other) == (first.of(kind, value, tenant, "2026-11") == first.of(kind, other, tenant, "2026-11"))


@given(value=st.text(min_size=1))
def test_the_same_value_is_another_one_in_another_tenant_month_or_kind(value: str) -> None:
    made = names()
    found = {
        made.of(kind, value, tenant, month)
        for kind in ("subject", "address")
        for tenant in ("", "acme", "umbrella")
        for month in ("2026-10", "2026-11")
    }
    assert 12 == len(found)


def test_the_key_of_a_later_month_gives_the_same_pseudonyms_from_then_on() -> None:
    later = advance(KEY, "2026-10")
    for month in ("2026-10", "2026-11", "2031-01"):
        assert names().of("subject", "a", "acme", month) == names(later).of("subject", "a", "acme", month)


def test_the_key_of_a_later_month_finds_nobody_in_earlier_records() -> None:
    """Who destroys the old key file ends the linkability of what came before."""
    later = advance(KEY, "2026-10")
    assert names().of("subject", "a", "acme", "2026-09") != names(later).of("subject", "a", "acme", "2026-09")
    assert "the key of `2026-10` cannot yield the key of the earlier `2026-09`" == advance(later, "2026-09")


def test_a_labelled_key_file_is_read_back() -> None:
    later = advance(KEY, "2026-10")
    assert later == parse_key(f"{later.period} {later.key.hex()}\n".encode())


def test_a_short_key_is_refused() -> None:
    assert "a pseudonym key has at least 32 bytes, found 5" == parse_key(b"short")


def test_what_is_absent_has_no_pseudonym() -> None:
    assert "" == names().of("address", "", "acme", "2026-11")


def test_a_subject_has_the_pseudonym_of_its_issuer_and_id_together() -> None:
    made = names()
    assert made.of("subject", "https://a.test\0bob", "acme", "2026-11") == made.of_subject(
        "https://a.test", "bob", "acme", "2026-11"
    )
    assert "" == made.of_subject("", "", "acme", "2026-11")


def test_pseudonyms_that_are_kept_are_bounded_and_invisible_to_the_collector() -> None:
    made = names()
    for number in range(1000):
        made.of("address", f"192.0.2.{number}", "acme", "2026-11")
        made.of_subject("https://a.test", str(number), "acme", "2026-11")
    gc.collect()
    kept = made._made.young
    assert 2000 == len(kept)
    assert not any(gc.is_tracked(item) for pair in kept.items() for item in pair)
    assert not gc.is_tracked(kept)
