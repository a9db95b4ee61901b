"""Where decisions are kept, how durably, and where they are delivered."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MIB = 1 << 20
CLEAR_PATTERN = r"^request\.(headers|auth\.claims)\[[^\[\]]+\]$"
_SECRET = frozenset(
    f"request.headers[{name}]"
    for name in ("authorization", "cookie", "dpop", "proxy-authorization", "set-cookie", "x-forwarded-client-cert")
)


class SinkOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Follows the journal with its own cursor: at least once, in order, beside the path."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]  # names the cursor file and the metric label
    type: Literal["stdout", "file"]  # what records are written to
    path: str = ""  # of a `file` sink

    def __post_init__(self) -> None:
        """A file has a path, stdout has none; `journal` is the metric label of the journal itself."""
        if (self.type == "file") != bool(self.path):
            msg = f"sink `{self.name}`: `path` is needed by type `file` and by no other"
            raise ValueError(msg)
        if self.name == "journal":
            msg = "sink `journal`: the name stands for the journal itself, choose another"
            raise ValueError(msg)


class JournalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where decisions are kept; a directory belongs to one process."""

    directory: Annotated[str, Meta(min_length=1)] = "/var/lib/extauthz/journal"  # created with mode 0750 if missing
    # `process`: handed to the kernel before the answer, survives kill -9; `disk`: synchronised, survives power loss
    durability: Literal["process", "disk"] = "process"
    segment_bytes: Annotated[int, Meta(ge=MIB, le=4096 * MIB)] = 256 * MIB  # a new file begins about there
    checkpoint_records: Annotated[int, Meta(ge=1)] = 10_000  # a signed checkpoint after so many records
    checkpoint_seconds: Annotated[int, Meta(ge=1)] = 60  # and after so many seconds, also when idle
    keep_segments: Annotated[int, Meta(ge=0)] = 0  # older segments are removed, which is recorded; 0 keeps all
    keep_for_sinks: Annotated[int, Meta(ge=0)] = 4  # so many more segments are kept for a sink that lags
    pseudonym_key_file: str = ""  # 32 bytes or more; made as `pseudonym.key` in the directory when empty
    signing_key_file: str = ""  # Ed25519, PEM; made as `signing.key` in the directory when empty
    # `attributes`: records also keep what policies read, personal values as pseudonyms, for `extauthz bundle replay`
    replay: Literal["off", "attributes"] = "off"
    # Headers and claims that name nobody and are kept as they are, e.g. `request.headers[x-channel]`
    replay_clear: tuple[Annotated[str, Meta(pattern=CLEAR_PATTERN)], ...] = ()
    sinks: tuple[SinkOptions, ...] = ()  # where records are delivered besides

    def __post_init__(self) -> None:
        """Every sink has a cursor of its own."""
        if self.replay_clear and self.replay == "off":
            msg = "`replayClear` says how attributes are kept: set `replay: attributes`, or leave it out"
            raise ValueError(msg)
        if secret := next((name for name in self.replay_clear if name.lower() in _SECRET), None):
            msg = f"`replayClear`: `{secret}` holds a credential, which is never recorded"
            raise ValueError(msg)
        names = [sink.name for sink in self.sinks]
        if twice := next((name for name in names if names.count(name) > 1), None):
            msg = f"sink `{twice}` is defined more than once"
            raise ValueError(msg)


class JournalIdentity(Struct, frozen=True, kw_only=True):
    """Whose journal it is. Written into every segment."""

    instance: str  # names the process across restarts, e.g. the pod
    boot: str  # names this run
    version: str = ""  # of extauthz
    config_digest: str = ""  # SHA-256 of the server config, hex
