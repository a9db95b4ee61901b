"""`to` and `match`: what is asked for. Alternatives are ORed, the fields within one are ANDed."""

import re
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.problems import Location
from extauthz.policy.asked import Asked
from extauthz.policy.document import MatchSpec, OperationSpec
from extauthz.policy.matchers import EVERY_PATH, PathMatcher, path_matcher, text_problem, text_set
from extauthz.policy.outcome import YES
from extauthz.policy.parts import Draft, Part, TextPart, check_values

_METHOD = re.compile(r"[A-Z!#$%&'*+.^_`|~0-9-]{1,20}")
_MAX_PORT = 65535


class Operation(Struct, frozen=True, gc=False):
    """One alternative."""

    parts: tuple[Part, ...]
    paths: tuple[PathMatcher, ...] | None = None
    not_paths: tuple[PathMatcher, ...] = ()
    patterns: tuple[PathPattern, ...] | None = None  # for the index
    hosts: tuple[str, ...] | None = None  # for the index
    methods: tuple[str, ...] | None = None  # for the index
    ports: tuple[str, ...] | None = None  # for the index

    def covering(self, asked: Asked) -> list[PathMatcher]:
        """The patterns by which the request is this operation; empty when it is not."""
        for part in self.parts:
            if part.test(asked) != YES:
                return []
        return covering(self.paths, asked) if not self.excludes_path(asked) else []

    def excludes_path(self, asked: Asked) -> bool:
        """Whether `notPaths` covers the path."""
        segments, folded = asked.request.segments, asked.folded
        return any(path.covers(segments, folded) for path in self.not_paths)


def covering(paths: tuple[PathMatcher, ...] | None, asked: Asked) -> list[PathMatcher]:
    """Those of the patterns that cover the path, in their order; without patterns one that covers every path."""
    if paths is None:
        return [EVERY_PATH]
    segments, folded = asked.request.segments, asked.folded
    return [path for path in paths if path.covers(segments, folded)]


def compile_operation(spec: OperationSpec, draft: Draft, location: Location) -> Operation:
    """Compile one alternative; what is malformed is noted and left out."""
    parts: list[Part] = []
    for written, values, negative in (("hosts", spec.hosts, False), ("notHosts", spec.not_hosts, True)):
        if values is not None and check_values(draft, (*location, written), values, _host_problem):
            lower = tuple(value.lower() for value in values)
            parts.append(_part(written, lower, lambda asked: (asked.request.host,), draft, negative=negative))
    for written, values, negative in (("methods", spec.methods, False), ("notMethods", spec.not_methods, True)):
        if values is not None and check_values(draft, (*location, written), values, _method_problem):
            parts.append(_part(written, values, lambda asked: (asked.request.method,), draft, negative=negative))
    for written, ports, negative in (("ports", spec.ports, False), ("notPorts", spec.not_ports, True)):
        texts = None if ports is None else tuple(str(port) for port in ports)
        if texts is not None and check_values(draft, (*location, written), texts, port_problem):
            parts.append(_part(written, texts, read_port, draft, negative=negative, http=False))
    paths = _compile_paths(spec.paths, draft, (*location, "paths"))
    not_paths = _compile_paths(spec.not_paths, draft, (*location, "notPaths")) or ()
    folds = draft.effect == "deny"  # T-11: what denies covers more spellings, what allows fewer
    return Operation(
        parts=tuple(parts),
        paths=None if paths is None else tuple(path_matcher(path, fold=folds) for path in paths),
        not_paths=tuple(path_matcher(path, fold=not folds) for path in not_paths),
        patterns=paths,
        hosts=None if spec.hosts is None else tuple(host.lower() for host in spec.hosts),
        methods=spec.methods,
        ports=None if spec.ports is None else tuple(str(port) for port in spec.ports),
    )


def _part(
    field: str,
    values: tuple[str, ...],
    read: Callable[[Asked], tuple[str, ...]],
    draft: Draft,
    *,
    negative: bool,
    http: bool = True,
) -> Part:
    return TextPart(field, text_set(values), read, draft.against, negative=negative, http=http, masked=False)


def without_http(operation: Operation) -> Operation:
    """The alternative as far as a connection can answer it."""
    parts = tuple(part for part in operation.parts if not part.http)
    return replace(operation, parts=parts, paths=None, not_paths=(), patterns=None, hosts=None, methods=None)


def names_http(operation: Operation) -> bool:
    """Whether a connection lacks what the alternative names."""
    return operation.paths is not None or bool(operation.not_paths) or any(part.http for part in operation.parts)


class Scope(Struct, frozen=True, gc=False):
    """A compiled `match`."""

    hosts: tuple[HostPattern, ...] | None = None
    exact: frozenset[str] | None = None  # all hosts, when none is a pattern
    paths: tuple[PathMatcher, ...] | None = None
    patterns: tuple[PathPattern, ...] | None = None  # for the index

    def bind_hosts(self, asked: Asked) -> list[dict[str, str]]:
        """The captures of each host pattern that covers the host."""
        host = asked.request.host
        if self.exact is not None:
            return [{}] if host in self.exact else []
        if self.hosts is None:
            return [{}]
        return [found for pattern in self.hosts if (found := pattern.match(host)) is not None]


def compile_scope(spec: MatchSpec, draft: Draft) -> Scope:
    """Compile `match`; what is malformed is noted and left out."""
    location = ("spec", "match")
    hosts = None
    if spec.hosts is not None and check_values(draft, (*location, "hosts"), spec.hosts, _pattern_problem):
        hosts = tuple(found for text in spec.hosts if isinstance(found := parse_host_pattern(text), HostPattern))
    exact = None
    if hosts is not None and all(host.kind == "exact" for host in hosts):
        exact = frozenset(host.suffix for host in hosts)
    patterns = _compile_paths(spec.paths, draft, (*location, "paths"))
    folds = draft.effect == "deny"
    paths = None if patterns is None else tuple(path_matcher(path, fold=folds) for path in patterns)
    return Scope(hosts, exact, paths, patterns)


def _compile_paths(texts: tuple[str, ...] | None, draft: Draft, location: Location) -> tuple[PathPattern, ...] | None:
    if texts is None or not check_values(draft, location, texts, _nothing_wrong):
        return None
    patterns = []
    for position, text in enumerate(texts):
        found = parse_pattern(text)
        if isinstance(found, PathPattern):
            patterns.append(found)
        else:
            draft.fault((*location, position), found)
    return tuple(patterns)


def _nothing_wrong(_: str) -> str:
    return ""


def _pattern_problem(text: str) -> str:
    found = parse_host_pattern(text)
    return found if isinstance(found, str) else ""


def _host_problem(value: str) -> str:
    if ":" in value:
        return f"`{value}` has a port: hosts are compared without it, use `ports`"
    if "{" in value:
        return f"`{value}`: captures stand in `match.hosts`"
    return text_problem(value)


def _method_problem(value: str) -> str:
    if problem := text_problem(value):
        return problem
    if not _METHOD.fullmatch(value):
        return f"`{value}` is no method: write it in upper case, as in `{value.upper()}`"
    return ""


def port_problem(value: str) -> str:
    """What is wrong with a port, "" when nothing is."""
    if value.isascii() and value.isdigit() and 0 < int(value) <= _MAX_PORT:
        return ""
    return f"`{value}` is no port between 1 and {_MAX_PORT}"


def read_port(asked: Asked) -> tuple[str, ...]:
    """The destination's port, none when it is not known."""
    port = asked.request.destination.port
    return (str(port),) if port else ()
