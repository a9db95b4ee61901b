"""What a case expects beside what came out."""

from collections.abc import Iterable, Mapping

from extauthz.bundle.kinds import ExpectSpec
from extauthz.model.decision import Allow, Decision, Obligations


def obliged(expect: ExpectSpec) -> bool:
    """Whether something is expected that only an allow has."""
    return any(
        (
            expect.upstream_headers,
            expect.removed_headers,
            expect.client_headers,
            expect.set_query,
            expect.removed_query,
            expect.metadata,
        )
    )


def differences(expect: ExpectSpec, decision: Decision) -> Iterable[str]:
    """Everything that came out otherwise, e.g. "reason: expected `a`, got `b`"."""
    evidence = decision.evidence
    pairs = (
        ("outcome", expect.outcome, decision.reason.outcome),
        ("reason", expect.reason, decision.reason.code),
        ("policy", expect.policy, evidence.policy),
        ("rule", expect.rule, evidence.rule),
        ("tenant", expect.tenant, evidence.tenant),
        ("emergency", expect.emergency, evidence.emergency),
    )
    for name, expected, actual in pairs:
        if expected is not None and expected != actual:
            yield f"{name}: expected {_show(expected)}, got {_show(actual)}"
    found = decision.obligations if isinstance(decision, Allow) else Obligations()
    yield from _values("upstreamHeaders", _lower(expect.upstream_headers), dict(found.upstream_headers))
    yield from _missing("removedHeaders", map(str.lower, expect.removed_headers), found.removed_headers)
    yield from _values("clientHeaders", _lower(expect.client_headers), _lower(dict(found.client_headers)))
    yield from _values("setQuery", expect.set_query, dict(found.set_query))
    yield from _missing("removedQuery", expect.removed_query, found.removed_query)
    yield from _values("metadata", expect.metadata, dict(found.metadata))
    shadow = [f"{match.policy}/{match.rule}" for match in evidence.shadow]
    yield from _same("shadow", expect.shadow, shadow, "match")
    yield from _same("conditionErrors", expect.condition_errors, evidence.condition_errors, "err")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _values(field: str, expected: Mapping[str, str], actual: Mapping[str, str]) -> Iterable[str]:
    for name, value in expected.items():
        if actual.get(name) != value:
            yield f"{field}.{name}: expected {_show(value)}, got {_show(actual.get(name, ''))}"


def _same(field: str, expected: Iterable[str] | None, actual: Iterable[str], verb: str) -> Iterable[str]:
    """Both name the same rules."""
    if expected is not None:
        wanted, found = set(expected), set(actual)
        yield from (f"{field}: expected `{name}` to {verb}" for name in sorted(wanted - found))
        yield from (f"{field}: expected `{name}` not to {verb}" for name in sorted(found - wanted))


def _missing(field: str, expected: Iterable[str], actual: tuple[str, ...]) -> Iterable[str]:
    yield from (f"{field}: expected `{name}` to be removed" for name in expected if name not in actual)


def _show(value: str) -> str:
    return f"`{value}`" if value else "none"
