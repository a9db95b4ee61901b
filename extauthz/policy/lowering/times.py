"""Timestamps and durations: reading, writing and taking apart, in UTC (proleptic Gregorian calendar, RFC 3339).

What is written in an unusual way, CEL's evaluator reads: BeyondError.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from extauthz.policy.lowering.values import BeyondError, Duration, FailedError, Timestamp

NANOS: Final = 1_000_000_000
_FIRST: Final = -62135596800 * NANOS  # 0001-01-01
_LAST: Final = 253402300800 * NANOS  # 10000-01-01, not any more
_MAX_DURATION: Final = 9_223_372_036 * NANOS  # what 64 bits of nanoseconds hold, in whole seconds
_DAY: Final = 86_400
_CYCLE: Final = 146_097  # days in 400 years
_SHIFT: Final = 719_468  # days from 0000-03-01 to 1970-01-01

_WRITTEN = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
_LENGTH = re.compile(r"(-?)((?:\d{1,9}(?:h|ms|us|ns|m|s))+)", re.ASCII)
_STEP = re.compile(r"(\d+)([a-z]+)", re.ASCII)
_UNITS: Final = {"h": 3600 * NANOS, "m": 60 * NANOS, "s": NANOS, "ms": 1_000_000, "us": 1_000, "ns": 1}
_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def checked_timestamp(nanos: int) -> Timestamp:
    """A point in the years 1 to 9999. Raises FailedError for any other."""
    if _FIRST <= nanos < _LAST:
        return Timestamp(nanos)
    raise FailedError


def read_timestamp(text: str) -> Timestamp:
    """`timestamp('2026-02-28T09:30:00Z')`."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise BeyondError
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    away = (int(match[9]), int(match[10])) if match[8] else (0, 0)
    if not (1 <= month <= 12 and 1 <= day <= 28 and hour < 24 and minute < 60 and second < 60):  # noqa: PLR2004
        _check_rare(year, month, day, hour, minute, second)
    if away > (12, 59) or away[1] > 59:  # noqa: PLR2004 - real ones end at 14 hours
        raise BeyondError
    seconds = _days(year, month, day) * _DAY + hour * 3600 + minute * 60 + second
    offset = (away[0] * 60 + away[1]) * 60
    seconds += offset if match[8] == "-" else -offset
    return checked_timestamp(seconds * NANOS + int((match[7] or "").ljust(9, "0")))


def _check_rare(year: int, month: int, day: int, hour: int, minute: int, second: int) -> None:
    """The ends of months. Leap seconds and what no calendar has are left to CEL."""
    if not (1 <= month <= 12 and 1 <= day <= _MONTHS[month - 1] and hour < 24 and minute < 60 and second < 60):  # noqa: PLR2004
        raise BeyondError
    if month == 2 and day == 29 and not _is_leap(year):  # noqa: PLR2004
        raise FailedError


def read_duration(text: str) -> Duration:
    """`duration('1h30m')`: whole numbers of h, m, s, ms, us, ns."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise BeyondError
    nanos = sum(int(number) * _UNITS[unit] for number, unit in _STEP.findall(match[2]))
    if nanos > _MAX_DURATION:
        raise BeyondError
    return Duration(-nanos if match[1] else nanos)


def write_timestamp(value: Timestamp) -> str:
    """`string(timestamp)`."""
    seconds, nanos = divmod(value, NANOS)
    if nanos:  # in groups of three digits: CEL knows when
        raise BeyondError
    year, month, day = _date(seconds // _DAY)
    rest = seconds % _DAY
    return f"{year:04}-{month:02}-{day:02}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01. Years are counted from March, so that the leap day is the last."""
    if month <= 2:  # noqa: PLR2004
        year -= 1
    of_cycle = year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year // 400 * _CYCLE + of_cycle * 365 + of_cycle // 4 - of_cycle // 100 + of_year - _SHIFT


def _date(days: int) -> tuple[int, int, int]:
    """(year, month, day) of a day counted from 1970-01-01."""
    cycle, of_cycle = divmod(days + _SHIFT, _CYCLE)
    year = (of_cycle - of_cycle // 1460 + of_cycle // 36524 - of_cycle // (_CYCLE - 1)) // 365
    of_year = of_cycle - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9  # noqa: PLR2004
    return cycle * 400 + year + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1  # noqa: PLR2004


def _of_timestamp(value: Timestamp, name: str) -> int:
    seconds = value // NANOS
    days = seconds // _DAY
    if name in _OF_DAY:
        return _OF_DAY[name](value)
    if name == "getDayOfWeek":  # 1970-01-01 was a Thursday, Sunday is 0
        return (days + 4) % 7
    year, month, day = _date(days)
    if name == "getDayOfYear":
        return days - _days(year, 1, 1)
    return {"getFullYear": year, "getMonth": month - 1, "getDate": day, "getDayOfMonth": day - 1}[name]


_OF_DAY: dict[str, Callable[[int], int]] = {
    "getHours": lambda nanos: nanos // (3600 * NANOS) % 24,
    "getMinutes": lambda nanos: nanos // (60 * NANOS) % 60,
    "getSeconds": lambda nanos: nanos // NANOS % 60,
    "getMilliseconds": lambda nanos: nanos // 1_000_000 % 1000,
}
_OF_DURATION: dict[str, Callable[[int], int]] = {
    "getHours": lambda nanos: nanos // (3600 * NANOS),
    "getMinutes": lambda nanos: nanos // (60 * NANOS),
    "getSeconds": lambda nanos: nanos // NANOS,
    "getMilliseconds": lambda nanos: nanos // 1_000_000 % 1000,
}
GETTERS: Final = (*_OF_DAY, "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear")


def part_of(name: str) -> Callable[[Any], int]:
    """`value.getHours()` and its like, without a time zone: those are CEL's."""

    def get(value: Any) -> int:
        if type(value) is Timestamp:
            return _of_timestamp(value, name)
        if type(value) is Duration and name in _OF_DURATION:
            part = _OF_DURATION[name](abs(value))
            return -part if value < 0 else part
        raise FailedError

    return get
