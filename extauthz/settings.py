"""The server config: one file, overridden by the environment, overridden by flags. Every room owns its section.

Rule 1: an unknown key, variable or value is an error, and all errors come at once.
Rule 2: what concerns decisions is in the bundle, never here.
"""

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from extauthz.admin import AdminOptions
from extauthz.bundle.finding import BundleError, Finding, dotted
from extauthz.bundle.syntax import NO_LINES
from extauthz.bundle.tree import Tree, bind, parse_yaml
from extauthz.journal import JournalOptions
from extauthz.model.problems import suggestion
from extauthz.sources import EmergenciesOptions, IntrospectionOptions, JwksOptions, RevocationsOptions, TokenOptions
from extauthz.sources.bundles import BundleOptions
from extauthz.sources.nonce_keys import DpopOptions
from extauthz.telemetry import TelemetryOptions
from extauthz.transport import ListenOptions, TransportOptions
from extauthz.wire import InboundOptions, OutboundOptions
from extauthz.workers import WorkersOptions, worker_addresses

PREFIX = "EXTAUTHZ_"
CONFIG_VARIABLE = "EXTAUTHZ_CONFIG"  # the file, when no flag names it
# Kubernetes gives these to every pod beside a Service whose name begins with `extauthz`.
_SERVICE_LINK = re.compile(
    r"EXTAUTHZ_(?:[A-Z0-9]+_)*(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)?)"
)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What the process needs to know. What decides is in the bundle."""

    listen: ListenOptions = ListenOptions()
    bundle: BundleOptions = BundleOptions()
    jwks: JwksOptions = JwksOptions()
    transport: TransportOptions = TransportOptions()
    inbound: InboundOptions = InboundOptions()
    answers: OutboundOptions = OutboundOptions()
    journal: JournalOptions = JournalOptions()
    telemetry: TelemetryOptions = TelemetryOptions()
    admin: AdminOptions = AdminOptions()
    revocations: RevocationsOptions = RevocationsOptions()
    emergencies: EmergenciesOptions = EmergenciesOptions()
    dpop: DpopOptions = DpopOptions()
    introspection: IntrospectionOptions = IntrospectionOptions()
    tokens: TokenOptions = TokenOptions()
    workers: WorkersOptions = WorkersOptions()

    def __post_init__(self) -> None:
        """Refuse what only shows across sections."""
        if self.admin.control_socket and not self.revocations.file:
            message = "`admin.controlSocket` needs `revocations.file`: what is revoked must survive a restart"
            raise ValueError(message)
        if self.workers.count > 1:
            worker_addresses(self.listen.address, self.workers, self.admin.address)

    @property
    def digest(self) -> str:
        """SHA-256 over the settings in force, wherever they came from; hex."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class SettingsError(Exception):
    """The settings cannot be used: one line an error, each with its file and line, variable or flag."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


Hint = Any  # what stands in an annotation: a class, a union, a generic alias


class _Override(Struct, frozen=True):
    """One value from the environment or a flag."""

    origin: str
    location: tuple[str, ...]
    value: Any


def load_settings(file: Path | None, environ: Mapping[str, str], flags: Sequence[str]) -> Settings:
    """Read file, then environment, then flags (`section.key=value`). Raises SettingsError with every error found."""
    errors: list[str] = []
    tree = _read_file(file, errors)
    overrides = [*_from_environment(environ, errors), *_from_flags(flags, errors)]
    if tree is None:
        raise SettingsError(errors)
    merged = copy.deepcopy(tree.value)
    for override in overrides:
        _put(merged, override)
    bound = bind(Tree(tree.file, tree.lines, merged), Settings)
    if isinstance(bound, Settings):
        if errors:
            raise SettingsError(errors)
        return bound
    raise SettingsError([*errors, *(str(_with_origin(finding, overrides)) for finding in bound)])


def _read_file(file: Path | None, errors: list[str]) -> Tree | None:
    if file is None:
        return Tree("", NO_LINES)
    try:
        trees = parse_yaml(file.read_bytes(), str(file))
    except OSError as error:
        errors.append(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}")
        return None
    except BundleError as error:
        errors += [str(finding) for finding in error.findings]
        return None
    if len(trees) > 1:
        errors.append(str(trees[1].error((), "a second document: the server config is one document")))
        return None
    if trees and not isinstance(trees[0].value, dict):
        errors.append(
            str(trees[0].error((), f"must be a mapping of sections{suggestion('', list(_fields(Settings)))}"))
        )
        return None
    return trees[0] if trees else Tree(str(file), NO_LINES)


def _from_environment(environ: Mapping[str, str], errors: list[str]) -> Iterator[_Override]:
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or _SERVICE_LINK.fullmatch(name):
            continue
        origin = f"environment variable `{name}`"
        location: list[str] = []
        hint: Hint = Settings
        for part in name.removeprefix(PREFIX).split("__"):
            fields = _fields(hint)
            by_variable = {_squash(field): field for field in fields}
            field = by_variable.get(_squash(part))
            if field is None:
                known = [PREFIX + "__".join(map(_variable, [*location, field])) for field in fields]
                errors.append(f"{origin}: unknown variable{suggestion(name, known)}")
                break
            location.append(field)
            hint = fields[field]
        else:
            yield from _override(origin, tuple(location), hint, environ[name], errors)


def _from_flags(flags: Sequence[str], errors: list[str]) -> Iterator[_Override]:
    for flag in flags:
        name, equals, text = flag.partition("=")
        origin = f"flag `--set {name}`"
        if not equals:
            errors.append(f"{origin}: must be `section.key=value`")
            continue
        location: list[str] = []
        hint: Hint = Settings
        for part in name.split("."):
            fields = _fields(hint)
            if part not in fields:
                known = [".".join([*location, field]) for field in fields]
                errors.append(f"{origin}: unknown key{suggestion(name, known)}")
                break
            location.append(part)
            hint = fields[part]
        else:
            yield from _override(origin, tuple(location), hint, text, errors)


def _override(
    origin: str,
    location: tuple[str, ...],
    hint: Hint,
    text: str,
    errors: list[str],
) -> Iterator[_Override]:
    """Text fields take the text as it is, others read it as YAML, so that lists and mappings can be given."""
    if _is_text(hint):
        yield _Override(origin, location, text)
        return
    try:
        trees = parse_yaml(text.encode("utf-8", "surrogateescape"), origin)
    except BundleError as error:
        errors += [str(msgspec.structs.replace(finding, line=0)) for finding in error.findings]
        return
    yield _Override(origin, location, trees[0].value if trees else None)


def _put(merged: dict[str, Any], override: _Override) -> None:
    at = merged
    for step in override.location[:-1]:
        if not isinstance(at.get(step), dict):
            at[step] = {}
        at = at[step]
    at[override.location[-1]] = override.value


def _with_origin(finding: Finding, overrides: Sequence[_Override]) -> Finding:
    """An error about an overridden value names the variable or flag, not the file."""
    for override in reversed(overrides):
        field = dotted(override.location)
        if finding.field == field or finding.field.startswith((f"{field}.", f"{field}[")):
            return msgspec.structs.replace(finding, file=override.origin, line=0)
    return finding


def _fields(hint: Hint) -> dict[str, Any]:
    """The fields of a section by their names in the file; nothing for what is no section."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, Struct):
            return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    return {}


def _is_text(hint: Hint) -> bool:
    if get_origin(hint) in {Annotated, Union, UnionType}:
        return any(_is_text(part) for part in get_args(hint))
    return hint is str


def _squash(name: str) -> str:
    return name.replace("_", "").lower()


def _variable(field: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field).upper()
