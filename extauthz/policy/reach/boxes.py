"""A rule as boxes: each pairs one alternative of `from` with one of `to`; everything in a box must hold.

Rule 1: made from documents without errors. What a box does not say (captures, obligations) makes the rule match less.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import fields, replace

from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.policy.document import (
    AccessPolicySpec,
    Effect,
    Mode,
    NamedPolicy,
    OperationSpec,
    RuleSpec,
    SourceSpec,
    WhenSpec,
    rule_name,
)
from extauthz.policy.matchers import principal_pattern
from extauthz.policy.reach.texts import IDENTITY, Texts

MAX_BOXES: Final = 64  # of one rule; of a rule with more nothing is said
_SOURCES: Final = tuple(name for name in SourceSpec.__struct_fields__ if not name.startswith("not_"))
_WHEN_ATTRIBUTES: Final = {
    "source.ip": "ip_blocks",
    "remote.ip": "remote_ip_blocks",
    "destination.ip": "destination_ip",
    "source.principal": "principals",
    "source.namespace": "namespaces",
    "destination.port": "ports",
    "connection.sni": "sni",
    "request.auth.principal": "request_principals",
    "request.auth.audiences": "audiences",
    "request.auth.presenter": "clients",
    "subject.roles": "roles",
    "subject.scopes": "scopes",
    "subject.tenant": "tenants",
}
_ENCODED: Final = {field.name: field.encode_name for field in fields(SourceSpec)}


class Box(Struct, frozen=True):
    """What one way to match a rule demands."""

    source: int  # index in `from`, -1 without
    operation: int  # index in `to`, -1 without
    tenant: str
    texts: tuple[Texts, ...]
    scopes: Texts | None  # of `from`: apart, for their lack alone is told to the client
    hosts: tuple[HostPattern, ...] | None  # `match.hosts`
    paths: tuple[tuple[PathPattern, ...], ...]  # `match.paths` and `to.paths`: one of each
    not_paths: tuple[PathPattern, ...]

    @property
    def all_texts(self) -> tuple[Texts, ...]:
        """Those of `scopes`, too."""
        return self.texts if self.scopes is None else (*self.texts, self.scopes)

    @property
    def needs_caller(self) -> bool:
        """Whether nobody in particular cannot match."""
        return any(not texts.negative and texts.attribute in IDENTITY for texts in self.all_texts)


class Span(Struct, frozen=True):
    """A rule and its boxes, in the order in which rules are tried."""

    policy: str
    rule: str
    document: int  # index of the policy as it was given
    position: int  # of the rule in the policy
    effect: Effect
    mode: Mode
    boxes: tuple[Box, ...]
    condition: str
    spec: RuleSpec
    scoped: bool  # the policy is limited to hosts, paths or a tenant

    @property
    def name(self) -> str:
        """`policy/rule`."""
        return f"{self.policy}/{self.rule}"

    @property
    def decides_connections(self) -> bool:
        """Whether a connection without HTTP may be tried on the rule (`rule.for_connections`)."""
        if self.scoped:
            return False
        spec = self.spec
        if self.effect == "deny":
            return True
        http = any(texts.http for box in self.boxes for texts in box.all_texts) or any(box.paths for box in self.boxes)
        return not http and spec.obligations is None


def spans(policies: list[NamedPolicy]) -> list[Span]:
    """Every rule, in the order in which `PolicySet` tries those of one effect and mode."""
    order = sorted(range(len(policies)), key=lambda at: policies[at].name)
    return [span for at in order for span in _spans(policies[at], at)]


def _spans(policy: NamedPolicy, document: int) -> Iterator[Span]:
    spec = policy.spec
    scoped = bool(spec.tenant or spec.match.hosts is not None or spec.match.paths is not None)
    for position, rule in enumerate(spec.rules):
        yield Span(
            policy=policy.name,
            rule=rule_name(rule, position),
            document=document,
            position=position,
            effect=spec.effect,
            mode=spec.mode,
            boxes=tuple(_boxes(spec, rule)),
            condition=rule.condition.strip(),
            spec=rule,
            scoped=scoped,
        )


def _boxes(spec: AccessPolicySpec, rule: RuleSpec) -> Iterator[Box]:
    if len(rule.from_ or (0,)) * len(rule.to or (0,)) > MAX_BOXES:
        return
    whens = tuple(texts for at, when in enumerate(rule.when or ()) for texts in _when(when, at))
    match = spec.match
    hosts = None if match.hosts is None else _hosts(match.hosts)
    base = Box(
        source=-1,
        operation=-1,
        tenant=spec.tenant,
        texts=whens + _exact_hosts(hosts),
        scopes=None,
        hosts=hosts,
        paths=() if match.paths is None else (_paths(match.paths),),
        not_paths=(),
    )
    for source in range(len(rule.from_)) if rule.from_ is not None else (-1,):
        with_source = base if rule.from_ is None else _with_source(base, rule.from_[source], source)
        for operation in range(len(rule.to)) if rule.to is not None else (-1,):
            yield with_source if rule.to is None else _with_operation(with_source, rule.to[operation], operation)


def _with_source(box: Box, spec: SourceSpec, at: int) -> Box:
    found: list[Texts] = []
    scopes = None
    for name in _SOURCES:
        for attribute, negative in ((name, False), (f"not_{name}", True)):
            values = getattr(spec, attribute)
            if values is None:
                continue
            patterns = frozenset(map(principal_pattern, values)) if name == "principals" else frozenset(values)
            texts = Texts(name, patterns, negative, f"from[{at}].{_ENCODED[attribute]}")
            if attribute == "scopes":
                scopes = texts
            else:
                found.append(texts)
    return replace(box, source=at, texts=(*box.texts, *found), scopes=scopes)


def _with_operation(box: Box, spec: OperationSpec, at: int) -> Box:
    found: list[Texts] = []
    written_fields = (
        ("hosts", "hosts", None if spec.hosts is None else tuple(host.lower() for host in spec.hosts), False),
        ("hosts", "notHosts", None if spec.not_hosts is None else tuple(host.lower() for host in spec.not_hosts), True),
        ("methods", "methods", spec.methods, False),
        ("methods", "notMethods", spec.not_methods, True),
        ("ports", "ports", None if spec.ports is None else tuple(map(str, spec.ports)), False),
        ("ports", "notPorts", None if spec.not_ports is None else tuple(map(str, spec.not_ports)), True),
    )
    for attribute, written, values, negative in written_fields:
        if values is not None:
            found.append(Texts(attribute, frozenset(values), negative, f"to[{at}].{written}"))
    return replace(
        box,
        operation=at,
        texts=(*box.texts, *found),
        paths=box.paths if spec.paths is None else (*box.paths, _paths(spec.paths)),
        not_paths=() if spec.not_paths is None else _paths(spec.not_paths),
    )


def _when(spec: WhenSpec, at: int) -> Iterator[Texts]:
    attribute = _WHEN_ATTRIBUTES.get(spec.key, spec.key)
    if attribute.startswith("request.headers["):
        attribute = attribute.lower()
    for field, values, negative in (("values", spec.values, False), ("notValues", spec.not_values, True)):
        if values is not None:
            patterns = frozenset(map(principal_pattern, values)) if attribute == "principals" else frozenset(values)
            yield Texts(attribute, patterns, negative, f"when[{at}].{field}")


def _exact_hosts(hosts: tuple[HostPattern, ...] | None) -> tuple[Texts, ...]:
    """`match.hosts` as a demand like `to.hosts`, where it names whole hosts."""
    if hosts is None or any(host.kind != "exact" for host in hosts):
        return ()
    return (Texts("hosts", frozenset(host.suffix for host in hosts), negative=False, field="match.hosts"),)


def _hosts(texts: tuple[str, ...]) -> tuple[HostPattern, ...]:
    return tuple(found for text in texts if isinstance(found := parse_host_pattern(text), HostPattern))


def _paths(texts: tuple[str, ...]) -> tuple[PathPattern, ...]:
    return tuple(found for text in texts if isinstance(found := parse_pattern(text), PathPattern))
