"""The trusted keys that the settings name → what verification needs."""

from pathlib import Path
from typing import Final

from extauthz.bundle import BadKeyError, TrustedKey
from extauthz.bundle.trust import key_id, read_public_key
from extauthz.bundle.verify import Trust
from extauthz.sources.bundles.options import TrustedKeyOptions, TrustOptions

_MAX_BYTES: Final = 64 << 10


def load_trust(options: TrustOptions) -> Trust:
    """Read the key files. Raises OSError that names the file and why."""
    keys = tuple(TrustedKey(_id(key), key.not_after.timestamp() if key.not_after else None) for key in options.keys)
    return Trust(keys, required=bool(keys) and options.required, name=options.name)


def _id(key: TrustedKeyOptions) -> str:
    if key.id:
        return key.id
    try:
        with Path(key.file).open("rb") as file:
            return key_id(read_public_key(file.read(_MAX_BYTES)))
    except (OSError, BadKeyError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        message = (
            f"`bundle.trust.keys`: `{key.file}` {why if isinstance(error, BadKeyError) else f'cannot be read: {why}'}"
        )
        raise OSError(message) from error
