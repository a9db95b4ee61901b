"""What rooms know, in the words of the admin pages and of metric labels."""

from collections.abc import Iterable
from datetime import UTC, datetime

from extauthz.admin import BundleStatus, EmergencyStatus, IssuerStatus, JournalStatus, TransportStatus
from extauthz.bundle import STEPS
from extauthz.guards import Summary
from extauthz.journal import Journal, JournalOptions
from extauthz.sources import IntrospectionStatus, JwksStatus, Live
from extauthz.sources.bundles import BundleSource
from extauthz.telemetry import BundleLabels
from extauthz.transport import Choice, TlsOptions

_FINDINGS_SHOWN = 50
_EMERGENCIES_SHOWN = 100


def bundle(live: Live, source: BundleSource, age: float, now: float) -> BundleStatus:
    """The revision in force, how its source fares, and the last attempt to replace it; `now` since the epoch."""
    world, last, fares, chosen = live.status(), source.last, source.status(), source.chosen
    return BundleStatus(
        source=fares.where,
        revision=world.revision,
        digest=world.digest,
        sequence=chosen.sequence if chosen else None,
        signed_by=chosen.key if chosen else "",
        origin=chosen.where if chosen else "",
        held_by=fares.hold.kind if fares.hold else "",
        held_seconds=max(0.0, now - fares.hold.since) if fares.hold else 0.0,
        waiting=fares.waiting,
        age_seconds=age if world.revision else 0.0,
        contact_age_seconds=fares.contact_age if fares.heard else None,
        too_old=fares.too_old,
        documents=world.documents,
        last_result=last.result if last else "",
        last_step=(last.step or "") if last else "",
        last_findings=tuple(str(finding) for finding in last.findings[:_FINDINGS_SHOWN]) if last else (),
        steps={
            step: {r: fares.steps[step, r] for r in ("passed", "failed") if (step, r) in fares.steps} for step in STEPS
        },
    )


def issuers(
    live: Live, fetched: Iterable[JwksStatus], asked: Iterable[IntrospectionStatus]
) -> tuple[IssuerStatus, ...]:
    """Every issuer of the bundle in force."""
    introspection = {status.issuer: _introspection(status) for status in asked}
    by_name = {status.issuer: status for status in fetched}
    counts = live.status().keys
    found = []
    for issuer in live.issuers:
        source = by_name.get(issuer.name)
        found.append(
            IssuerStatus(
                issuer=issuer.name,
                source="bundle" if issuer.jwks_file else "network" if issuer.has_keys else "introspection",
                keys=counts.get(issuer.name, 0),
                age_seconds=source.age_seconds if source else None,
                error=source.error if source else "",
                introspection=introspection.get(issuer.name, ""),
            )
        )
    return tuple(found)


def _introspection(status: IntrospectionStatus) -> str:
    if status.left_alone:
        return f"left alone: {status.error}"
    return f"failing: {status.error}" if status.error else "answering"


def emergencies(in_force: Iterable[tuple[str, Summary]]) -> tuple[EmergencyStatus, ...]:
    """What is frozen and opened, with where it stands; the first to end come first."""
    rows = sorted(in_force, key=lambda found: found[1].end)[:_EMERGENCIES_SHOWN]
    return tuple(
        EmergencyStatus(
            id=each.id, kind=each.kind, source=source, ends=datetime.fromtimestamp(each.end, UTC).isoformat()
        )
        for source, each in rows
    )


def journal(options: JournalOptions, running: Journal | None) -> JournalStatus:
    """How far the evidence reaches."""
    if running is None:
        return JournalStatus(directory=options.directory)
    now = running.status()
    return JournalStatus(directory=options.directory, records=now.records, position=now.position, failures=now.failures)


def transport(tls: TlsOptions | None, running: Choice, address: str, reasons: tuple[str, ...]) -> TransportStatus:
    """The listener."""
    return TransportStatus(
        kind=running.kind,
        fallback=running.fallback,
        address=address,
        tls="none" if tls is None else "mtls" if tls.client_ca else "tls",
        serving=not reasons,
        inflight=running.transport.inflight,
    )


def labels(live: Live, activated_at: float) -> BundleLabels:
    """The names that may become label values."""
    world = live.latest
    if world is None:
        return BundleLabels(revision="", digest="", activated_at=activated_at)
    return BundleLabels(
        revision=world.revision,
        digest=world.digest,
        activated_at=activated_at,
        profiles=frozenset(profile.name for profile in world.profiles.profiles),
        tenants=frozenset(world.tenants),
        rules=world.policies.rule_names,
        issuers=frozenset(issuer.name for issuer in live.issuers),
    )
