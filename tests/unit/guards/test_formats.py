"""What a FAPI header's value may look like, against the standard library as the oracle."""

import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.guards.formats import FORMATS, http_date, is_address

NOW = 1_760_000_000
moments = st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)


def fits(name: str, value: str) -> bool:
    return FORMATS[name](value, NOW)


@given(moments)
def test_every_imf_fixdate_is_read_as_the_moment_it_names(moment: datetime) -> None:
    assert int(moment.timestamp()) == http_date(format_datetime(moment, usegmt=True))


@given(moments, st.integers(1, 6))
def test_a_wrong_weekday_is_refused(moment: datetime, days: int) -> None:
    other = (moment if moment.year < 9999 else moment - timedelta(days=7)) + timedelta(days=days)
    wrong = format_datetime(other, usegmt=True)[:4] + format_datetime(moment, usegmt=True)[4:]
    assert http_date(wrong) is None


@given(st.text(), st.sampled_from(sorted(FORMATS)), st.integers(0, 2**40))
def test_any_text_gets_a_yes_or_no(value: str, name: str, now: int) -> None:
    assert FORMATS[name](value, now) in {True, False}


@given(
    st.sampled_from(sorted(FORMATS)), st.sampled_from(["\n", "\r\n", " ", "\x00", "\u0661", "\uff11", ","]), st.data()
)
def test_no_format_accepts_a_valid_value_with_something_hung_on(name: str, tail: str, data: st.DataObject) -> None:
    valid = data.draw(st.sampled_from(VALID[name]))
    assert fits(name, valid)
    assert not fits(name, valid + tail)
    assert not fits(name, tail + valid)


VALID = {
    "uuid": ["93bac548-d2de-4546-b106-880a5018460d", "93BAC548-d2de-1546-0106-880A5018460D"],
    "uuid-v4": ["93bac548-d2de-4546-b106-880a5018460d"],
    "http-date": ["Tue, 11 Sep 2012 19:43:31 GMT"],
    "http-date-or-utc": ["Tue, 11 Sep 2012 19:43:31 GMT", "Sun, 10 Sep 2017 19:43:31 UTC"],
    "ip-address": ["198.51.100.119", "2001:DB8::1893:25c8:1946", "::", "::ffff:192.0.2.1", "10.0.0.1"],
    "positive-integer": ["1", "42"],
    "base64": ["TW96aWxsYQ==", "TW96"],
    "boolean": ["true", "false"],
    "text": ["a", "ab cd", "~!"],
}


@pytest.mark.parametrize(
    "value",
    [
        "Tue, 11 Sep 2012 19:43:31 UTC",
        "Tue, 11 Sep 2012 19:43:31 +0000",
        "Tue, 11 Sep 2012 19:43:31",
        "Tuesday, 11-Sep-12 19:43:31 GMT",
        "Tue Sep 11 19:43:31 2012",
        "tue, 11 sep 2012 19:43:31 gmt",
        "Di, 11 Sep 2012 19:43:31 GMT",
        "Tue, 11 Sep 2012 24:00:00 GMT",
        "Tue, 11 Sep 2012 19:60:31 GMT",
        "Tue, 11 Sep 2012 19:43:61 GMT",
        "Thu, 29 Feb 1900 00:00:00 GMT",
        "Wed, 31 Apr 2013 00:00:00 GMT",
        "Mon, 00 Sep 2012 00:00:00 GMT",
        "Tue, \u0661\u0661 Sep 2012 19:43:31 GMT",
        "Tue, 11 Sep 2012 19:43:31 GMT,Tue, 11 Sep 2012 19:43:31 GMT",
        "1347392611",
    ],
)
def test_only_imf_fixdate_in_english_is_a_date(value: str) -> None:
    """The lenient parser of the standard library takes most of these."""
    assert not fits("http-date", value)


@pytest.mark.parametrize("value", ["Tue, 29 Feb 2000 00:00:00 GMT", "Sat, 31 Dec 2016 23:59:60 GMT"])
def test_leap_days_of_centuries_and_leap_seconds_are_dates(value: str) -> None:
    assert fits("http-date", value)


def test_the_strict_date_is_not_in_the_future_the_lenient_one_may_be() -> None:
    date = [format_datetime(datetime.fromtimestamp(NOW + ahead, UTC), usegmt=True) for ahead in (60, 61)]
    assert fits("http-date", date[0])
    assert not fits("http-date", date[1])
    assert fits("http-date-or-utc", date[1])


@given(st.ip_addresses())
def test_rs_04_every_ip_address_is_accepted_in_any_case(address: IPv4Address | IPv6Address) -> None:
    for spelling in (str(address), str(address).upper(), address.exploded):
        assert is_address(spelling)


@pytest.mark.parametrize(
    "value",
    ["fe80::1%eth0", "[::1]", "192.0.2.1:443", "192.0.2.0/24", "127.1", "0x7f.0.0.1", "010.0.0.1", "", "localhost"],
)
def test_rs_04_what_is_no_plain_address_is_refused(value: str) -> None:
    assert not is_address(value)


@given(st.uuids())
def test_every_uuid_in_its_text_form_is_one(value: uuid.UUID) -> None:
    assert fits("uuid", str(value)) == (value.int != 0)
    assert fits("uuid-v4", str(value)) == (value.version == 4)


@pytest.mark.parametrize(
    "value",
    [
        "{93bac548-d2de-4546-b106-880a5018460d}",
        "urn:uuid:93bac548-d2de-4546-b106-880a5018460d",
        "93bac548d2de4546b106880a5018460d",
        "93bac-548d2de-4546-b106-880a5018460d",
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_other_spellings_of_a_uuid_and_the_nil_one_are_refused(value: str) -> None:
    """`uuid.UUID` takes all of these."""
    uuid.UUID(value)
    assert not fits("uuid", value)


@pytest.mark.parametrize("value", ["0", "-1", "+1", "01", "1.0", "1e3", "", "1" * 10, "\u0661"])
def test_only_positive_integers_are_versions(value: str) -> None:
    assert not fits("positive-integer", value)
