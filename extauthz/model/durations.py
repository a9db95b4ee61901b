"""Durations as documents write them: `30s`, `5m`, `24h`, `1d` or a number of seconds."""

import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: int | str) -> int | None:
    """Whole seconds, None when it is no duration."""
    if isinstance(value, int):
        return value if value >= 0 else None
    match = _DURATION.fullmatch(value)
    return int(match[1]) * _SECONDS[match[2]] if match else None
