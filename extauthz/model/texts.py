"""Which texts may stand in a header, a query parameter or a log line of ours: one answer for all who ask."""

import re

# Control characters, both sets of them, Unicode's own line ends, and surrogates, which UTF-8 cannot write (T-38, T-53).
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_safe_value(value: str) -> bool:
    """Whether a header may carry the text: no control character, no line end, no surrogate."""
    return not _UNSAFE.search(value)
