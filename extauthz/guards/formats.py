r"""What a FAPI header's value may look like.

Rule 1: fullmatch on linear patterns with spelled-out classes; `\d` and `$` accept more than the standards do.
Rule 2: a format says yes or no; it never repairs, and never keeps the value.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

# Values of a few dozen characters that come again, kept with what was found of them, which is always the same.
_KEPT = 4096

# RFC 9562 section 4 in its text form. `uuid.UUID()` also takes braces, URNs and misplaced hyphens.
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_UUID_V4 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
UUID_LENGTH: Final = 36
_NIL = "00000000-0000-0000-0000-000000000000"

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DATE = re.compile(
    rf"({'|'.join(DAYS)}), ([0-9]{{2}}) ({'|'.join(MONTHS)}) ([0-9]{{4}})"
    " ([0-9]{2}):([0-9]{2}):([0-9]{2}) (GMT|UTC)"
)
_DATE_LENGTH = 29
_FIRST_YEAR = 1900  # RFC 5322 section 3.3
MAX_DATE_AHEAD = 60  # seconds; nobody logged in later than now, and no clock should be further off

_POSITIVE = re.compile(r"[1-9][0-9]{0,8}")  # nine digits: more than any version number
_PRINTABLE = re.compile(r"[!-+\--~](?:[ -+\--~]*[!-+\--~])?")  # no comma: it is how Envoy joins repeated fields
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]+={0,2}")
_MAX_ADDRESS = 45  # eight groups, the last two as IPv4 (RFC 4291 section 2.2)

Format = Callable[[str, int], bool]  # value, seconds since the epoch


def http_date(value: str, *, utc: bool = False) -> int | None:
    """IMF-fixdate (RFC 9110 section 5.6.7) as seconds since the epoch; None when it is none.

    The weekday must be the right one. `utc` takes `UTC` for `GMT`, as some ecosystems print it.
    """
    return _read_date(value, utc) if len(value) == _DATE_LENGTH else None


# A client says with each request when its user logged in: the same value for as long as that holds.
@lru_cache(maxsize=_KEPT)
def _read_date(value: str, utc: bool) -> int | None:  # noqa: FBT001 - what it is kept under
    match = _DATE.fullmatch(value)
    if match is None or (match[8] == "UTC" and not utc):
        return None
    day, month, year = int(match[2]), MONTHS.index(match[3]) + 1, int(match[4])
    hour, minute, second = int(match[5]), int(match[6]), int(match[7])
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)  # noqa: PLR2004 - the calendar
    if year < _FIRST_YEAR or not 1 <= day <= _LENGTHS[month - 1] + leap:
        return None
    if hour > 23 or minute > 59 or second > 60:  # noqa: PLR2004 - the clock; 60 is a leap second
        return None
    days = _days_since_epoch(year, month, day)
    if DAYS[(days + 3) % 7] != match[1]:  # 1970-01-01 was a Thursday
        return None
    return days * 86400 + hour * 3600 + minute * 60 + second


def _days_since_epoch(year: int, month: int, day: int) -> int:
    """Days of the proleptic Gregorian calendar, counting years from March so that the leap day comes last."""
    year, month = (year - 1, month + 9) if month <= 2 else (year, month - 3)  # noqa: PLR2004 - February
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469


def _is_uuid(value: str, _now: int) -> bool:
    return _UUID.fullmatch(value) is not None and value != _NIL


def _is_uuid_v4(value: str, _now: int) -> bool:
    return _UUID_V4.fullmatch(value) is not None


def _is_date(value: str, now: int) -> bool:
    seconds = http_date(value)
    return seconds is not None and seconds <= now + MAX_DATE_AHEAD


def _is_date_or_utc(value: str, _now: int) -> bool:
    return http_date(value, utc=True) is not None


def is_address(value: str, _now: int = 0) -> bool:
    """IPv4 or IPv6 in any valid spelling (RS-04), without zone, port, brackets or prefix length."""
    return len(value) <= _MAX_ADDRESS and "%" not in value and _is_address(value)


@lru_cache(maxsize=_KEPT)
def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _is_positive_integer(value: str, _now: int) -> bool:
    return _POSITIVE.fullmatch(value) is not None


def _is_text(value: str, _now: int) -> bool:
    return _PRINTABLE.fullmatch(value) is not None


def _is_base64(value: str, _now: int) -> bool:
    return _BASE64.fullmatch(value) is not None


def _is_boolean(value: str, _now: int) -> bool:
    return value in {"true", "false"}


FORMATS: Final[Mapping[str, Format]] = {
    "uuid": _is_uuid,
    "uuid-v4": _is_uuid_v4,
    "http-date": _is_date,  # strict: GMT, not in the future
    "http-date-or-utc": _is_date_or_utc,
    "ip-address": is_address,
    "positive-integer": _is_positive_integer,
    "base64": _is_base64,
    "boolean": _is_boolean,
    "text": _is_text,  # printable ASCII without comma
}


def format_name(fits: Format) -> str:
    """What a profile calls a format."""
    return next(name for name, known in FORMATS.items() if known is fits)
