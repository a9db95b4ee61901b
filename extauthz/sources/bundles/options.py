"""Where the bundle comes from, whose word counts for it, and what is kept of it."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from extauthz.bundle.compare import Gate
from extauthz.identity import is_fetchable
from extauthz.sources.bundles.reference import parse_reference

_DEFAULT_DIRECTORY = "bundle"


class TrustedKeyOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A key whose signature counts: by its file or by its id."""

    file: str = ""  # public key in PEM: Ed25519 or ECDSA with P-256
    id: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] = ""  # as `extauthz bundle keygen` prints it
    not_after: Annotated[datetime, Meta(tz=True)] | None = None  # RFC 3339; from then on its signatures do not count

    def __post_init__(self) -> None:
        """Refuse what names no key, or two."""
        if bool(self.file) == bool(self.id):
            message = "a trusted key needs either `file` or `id`"
            raise ValueError(message)


class TrustOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Whose bundles are put in force. Without keys nobody's signature is asked for."""

    keys: tuple[TrustedKeyOptions, ...] = ()  # one good signature by one of them is enough
    required: bool = True  # false: bundles that nobody signed are taken too, while signing is being introduced
    name: str = ""  # of the only bundle that is taken; "": of whichever was in force first


class FetchOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How `url` and `oci` are asked. Files are read again when they change."""

    poll_seconds: Annotated[float, Meta(ge=0.1, le=86400)] = 30.0  # between questions
    # How long the server may hold a question until there is something new (RFC 7240 `wait`); 0: not asked for.
    wait_seconds: Annotated[int, Meta(ge=0, le=600)] = 55
    timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 30.0  # of one question, beside what it may be held
    retry_seconds: Annotated[float, Meta(gt=0)] = 1.0  # after the first failure; doubled after each
    retry_max_seconds: Annotated[float, Meta(gt=0)] = 60.0  # the longest pause after failures
    max_bytes: Annotated[int, Meta(ge=1024, le=256 << 20)] = 96 << 20  # of an archive
    ca_file: str = ""  # PEM; "" for the public authorities
    client_certificate_file: str = ""  # PEM; with `clientKeyFile`, to show who asks
    client_key_file: str = ""  # PEM, without a password
    token_file: str = ""  # sent as `Authorization: Bearer`
    credentials_file: str = ""  # `user:password`, for registries and their token servers
    token_hosts: tuple[str, ...] = ()  # `host` or `host:port` of token servers besides the registry itself
    allow_http_loopback: bool = False  # for demos and tests

    def __post_init__(self) -> None:
        """Refuse what would not be sent, or twice."""
        if bool(self.client_certificate_file) != bool(self.client_key_file):
            message = "`clientCertificateFile` and `clientKeyFile` go together"
            raise ValueError(message)
        if self.token_file and self.credentials_file:
            message = "it takes either `tokenFile` or `credentialsFile`"
            raise ValueError(message)


class SourceOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A place that bundles come from, one of `directory`, `url` and `oci`."""

    directory: str = ""  # `bundle` when there is no other; links, or the mount of a ConfigMap, are followed
    url: str = ""  # of an archive, `https://…`
    oci: str = ""  # `registry/repository:tag`, `…@sha256:…` or both
    poll_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0  # of a directory, when the kernel reports no change
    run_tests: bool = True  # false: activate without running the bundle's PolicyTests
    # All files of `data/` together; in memory they take about five times as much, twice while one is being replaced.
    max_data_bytes: Annotated[int, Meta(ge=1024, le=64 << 20)] = 32 << 20
    fetch: FetchOptions = FetchOptions()
    trust: TrustOptions = TrustOptions()

    def __post_init__(self) -> None:
        """Refuse what names no place, or two."""
        if len([place for place in (self.directory, self.url, self.oci) if place]) > 1:
            message = "it takes one of `directory`, `url` and `oci`"
            raise ValueError(message)
        if self.url and (wrong := is_fetchable(self.url)):
            message = f"`url`: `{self.url}` {wrong}"
            raise ValueError(message)
        if self.oci and parse_reference(self.oci) is None:
            message = f"`oci`: `{self.oci}` must be `registry/repository:tag`, `…@sha256:…` or both"
            raise ValueError(message)

    @property
    def place(self) -> str:
        """Where bundles come from, in one word."""
        return self.url or self.oci or self.directory or _DEFAULT_DIRECTORY


class CandidateOptions(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A bundle that is evaluated beside the live one on the same requests, and never heeded.

    It passes the same steps, fetched and trusted as the live one where `fetch` and `trust` say nothing. Nothing of it
    is kept on disk, and a lower sequence is no rollback: it is not in force.
    """

    state_directory: ClassVar[str] = ""
    keep: ClassVar[int] = 1
    max_age_seconds: ClassVar[float] = 0.0
    when_too_old: ClassVar[str] = "keep"

    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0  # which part of the Checks is compared
    # Of the processor time that everything else takes; what is over is counted and not compared.
    max_share: Annotated[float, Meta(gt=0, le=1)] = 0.35
    gate: Gate = Gate()

    def __post_init__(self) -> None:
        """Refuse what names no place, or two."""
        super().__post_init__()
        if not (self.directory or self.url or self.oci):
            message = "it needs one of `directory`, `url` and `oci`"
            raise ValueError(message)


class BundleOptions(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where the bundle is, from one of `directory`, `url` and `oci`, and what it must be like to come into force."""

    # What was in force is kept here, so that a restart needs no source and nothing goes back. Needed by `url`, `oci`
    # and `trust.keys`; "": nothing is kept.
    state_directory: str = ""
    keep: Annotated[int, Meta(ge=1, le=1000)] = 10  # revisions there
    max_age_seconds: Annotated[float, Meta(ge=0)] = 0.0  # since the source was last heard; 0: however long
    when_too_old: Literal["keep", "undecided"] = "keep"  # undecided: every Check ends so until the source is heard
    candidate: CandidateOptions | None = None  # evaluated beside this one

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        super().__post_init__()
        needs = "`url`" if self.url else "`oci`" if self.oci else "`trust.keys`" if self.trust.keys else ""
        if needs and not self.state_directory:
            message = f"{needs} needs `stateDirectory`: what was in force must be known after a restart"
            raise ValueError(message)
        if self.when_too_old == "undecided" and not self.max_age_seconds:
            message = "`whenTooOld: undecided` needs `maxAgeSeconds`"
            raise ValueError(message)

    @property
    def compared(self) -> CandidateOptions | None:
        """The candidate with what it takes over from here."""
        if self.candidate is None:
            return None
        fetch = self.fetch if self.candidate.fetch == FetchOptions() else self.candidate.fetch
        trust = self.trust if self.candidate.trust == TrustOptions() else self.candidate.trust
        return replace(self.candidate, fetch=fetch, trust=trust)
