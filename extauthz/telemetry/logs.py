"""Structured logs on stderr: one line of JSON a message, without secrets, without floods.

Rule 1: nothing is logged for a request that went as it should; the journal has it.
Rule 2: whatever a message carries, it stays one line of ASCII (T-68), and what looks like a credential is masked.
"""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TextIO

from extauthz.telemetry.options import LogOptions

ROOT = "extauthz"
# Distinct messages remembered for the limit; when there are more, all are forgotten and may be written again.
_MAX_REMEMBERED = 1000
_MAX_TEXT = 8 * 1024

_MASKS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "<key>"),
    # JWS and JWE in compact form: every JSON object in base64url begins with `eyJ` or `ey`.
    (re.compile(r"\bey[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){1,4}"), "<token>"),
    (re.compile(r"(?i)\b(bearer|dpop|basic|negotiate)(\s+)[A-Za-z0-9._~+/\-]{4,}=*"), r"\1\2<credential>"),
    (re.compile(r"(?i)((?:set-)?cookie\s*[:=]\s*).+"), r"\1<cookies>"),
    (
        re.compile(
            r"(?i)\b((?:access_token|id_token|refresh_token|client_secret|client_assertion|password|passwd|secret|"
            r"api[_-]?key|authorization)[\"']?\s*[:=]\s*[\"']?)(?!<|bearer\b|dpop\b|basic\b|negotiate\b)[^\s\"'&,;}]+"
        ),
        r"\1<secret>",
    ),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "suppressed", "taskName"}


def mask(text: str) -> str:
    """The text with everything that looks like a credential replaced."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", ...}`; what was passed as `extra` comes as members of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, ASCII only."""
        whole, part = divmod(record.created, 1)
        fields: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(part * 1000):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _clean(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                fields[name] = value if isinstance(value, bool | int | float | None) else _clean(_named(name, value))
        if suppressed := getattr(record, "suppressed", 0):
            fields["suppressed"] = suppressed
        if record.exc_info and record.exc_info[0] is not None:
            fields["error"] = _clean(self.formatException(record.exc_info))
        # JSON escapes control characters and, kept to ASCII, line separators and marks that turn text around.
        return json.dumps(fields, default=str).replace("\x7f", "\\u007f")


def _named(name: str, value: object) -> str:
    """The value alone, or nothing of it when its name says what it is."""
    text = str(value)
    prefixed = f"{name}={text}"
    masked = mask(prefixed)
    return text if masked == prefixed else masked.partition("=")[2]


def _clean(text: str) -> str:
    return mask(text[:_MAX_TEXT])


class RateLimit(logging.Filter):
    """Lets a message (by logger, level and unformatted text) pass a few times, then counts it in silence."""

    def __init__(self, burst: int, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._burst, self._seconds, self._monotonic = burst, seconds, monotonic
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}  # when the window began, how many came

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message may be written; the first of a new window says how many were not."""
        key = (record.name, record.levelno, str(record.msg))
        now = self._monotonic()
        with self._lock:
            began, count = self._seen.get(key, (now, 0))
            if now - began >= self._seconds:
                record.suppressed = max(0, count - self._burst)
                began, count = now, 0
            if len(self._seen) >= _MAX_REMEMBERED and key not in self._seen:
                self._seen.clear()
            self._seen[key] = (began, count + 1)
        return count < self._burst


class Named(logging.Filter):
    """Lets every message pass, with members that say whose it is."""

    def __init__(self, fields: Mapping[str, int]) -> None:
        super().__init__()
        self._fields = dict(fields)

    def filter(self, record: logging.LogRecord) -> bool:
        """Also one that says it by itself."""
        vars(record).update({name: value for name, value in self._fields.items() if name not in vars(record)})
        return True


def configure_logs(
    options: LogOptions,
    stream: TextIO | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    fields: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Send the logs of extauthz and of its libraries to `stream` (default: stderr), and nowhere else.

    `fields` are members of every line.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RateLimit(options.burst, options.burst_seconds, monotonic))
    handler.addFilter(Named(fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries speak only when something is wrong
    logging.getLogger(ROOT).setLevel(options.level.upper())
