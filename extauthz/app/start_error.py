"""Why a server cannot start, in one line that names the key of the configuration."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


class StartError(Exception):
    """Something that the settings name cannot be had. One line; nothing was left running."""


@contextmanager
def ca_file(key: str, name: str) -> Iterator[None]:
    """Say which key of the configuration names the file that cannot be used."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one: no certificate in the file
        why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
        message = f"`{key}`: the file `{name}` cannot be used: {why}"
        raise StartError(message) from error
