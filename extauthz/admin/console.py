"""The status as one HTML page: no script, no external asset, every value escaped."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from extauthz.admin.status import BundleStatus, CandidateStatus, Status

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#cf222e}
body{font:14px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}
h1{font-size:1.3rem}h2{font-size:1rem;margin:1.5rem 0 .3rem}
table{border-collapse:collapse;width:100%}
th,td{border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top;
overflow-wrap:anywhere}
th{font-weight:600;width:12rem}td.n{text-align:right;font-variant-numeric:tabular-nums}
.good{color:var(--good)}.bad{color:var(--bad)}a{color:inherit}
"""
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def render(status: Status) -> bytes:
    """The page, as UTF-8."""
    bundle, journal, transport = status.bundle, status.journal, status.transport
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>extauthz</title><style>{_STYLE}</style>",
        f"<h1>extauthz {escape(status.version)}: {_readiness(status)}</h1>",
        _list("Not ready because", status.not_ready_because),
        _rows(
            "Emergencies in force",
            ("id", "kind", "from", "ends"),
            [(each.id, each.kind.replace("_", " "), each.source, each.ends) for each in status.emergencies],
        ),
        _rows(
            "Workers",
            ("worker", "address", "state", "serves for", "restarts", "last end", "checks", "memory"),
            [
                (
                    str(worker.worker),
                    worker.address,
                    "ready" if worker.ready else "; ".join(worker.not_ready_because),
                    _span(worker.serves_seconds),
                    worker.restarts,
                    worker.last_end,
                    worker.checks,
                    f"{worker.memory_bytes >> 20} MB" if worker.pid else "",
                )
                for worker in status.workers
            ],
        ),
        _facts(
            "Bundle",
            {
                "revision": bundle.revision or "none",
                "digest": bundle.digest,
                "in force for": _span(bundle.age_seconds) if bundle.revision else "",
                "documents": ", ".join(f"{count} {kind}" for kind, count in bundle.documents.items()),
                "source": bundle.source,
                "kept in force": _held(bundle),
                "last attempt": bundle.last_result,
            },
        ),
        _list("Findings of the last attempt", bundle.last_findings),
        *_candidate(status.candidate),
        _rows(
            "Keys",
            ("issuer", "from", "keys", "age", "last error", "introspection"),
            [
                (
                    issuer.issuer,
                    issuer.source,
                    issuer.keys,
                    "" if issuer.age_seconds is None else _span(issuer.age_seconds),
                    issuer.error,
                    issuer.introspection,
                )
                for issuer in status.issuers
            ],
        ),
        _rows("Decisions since start", ("reason", "count"), _by_count(status.decisions)),
        _facts(
            "Journal",
            {
                "directory": journal.directory,
                "records": f"{journal.records} in this run, {journal.position} in all",
                "failed writes": str(journal.failures),
            },
        ),
        _facts(
            "Server",
            {
                "instance": status.instance,
                "up for": _span(status.uptime_seconds),
                "gRPC": f"{transport.address} ({transport.kind}, {_tls(transport.tls)})",
                "checks in flight": str(transport.inflight),
                "configuration": status.config_digest,
            },
        ),
        "<p><a href=/status>status</a> · <a href=/metrics>metrics</a> · <a href=/readyz>readiness</a>",
    ]
    return "\n".join(part for part in parts if part).encode()


def _candidate(candidate: CandidateStatus | None) -> list[str]:
    """What would change if it were in force."""
    if candidate is None:
        return []
    found = candidate.comparison
    facts = {
        "revision": candidate.revision or "none",
        "digest": candidate.digest,
        "source": candidate.source,
        "last attempt": candidate.last_result,
        "sample": f"{100 * candidate.sample:g} %",
        "may be promoted": "yes" if candidate.promotable else f"no: {'; '.join(candidate.not_promotable_because)}",
    }
    if found is None:
        return [_facts("Candidate", facts), _list("Findings of the candidate", candidate.last_findings)]
    facts |= {
        "beside": found.live_revision,
        "compared": f"{found.compared} checks in {_span(found.seconds)}, {found.errors} failed",
        "not compared": ", ".join(f"{count} {cause}" for cause, count in _by_count(found.skipped)),
    }
    groups = [
        (each.change.replace("_", " "), each.policy, each.rule, each.tenant, each.count, each.example)
        for each in found.groups
    ]
    return [
        _facts("Candidate", facts),
        _list("Findings of the candidate", candidate.last_findings),
        _rows("Disagreements", ("change", "policy", "rule", "tenant", "checks", "for example"), groups),
    ]


def _readiness(status: Status) -> str:
    return "<span class=good>ready</span>" if status.ready else "<span class=bad>not ready</span>"


def _held(bundle: BundleStatus) -> str:
    if not bundle.held_by:
        return ""
    waits = f"; `{bundle.waiting}` waits" if bundle.waiting else ""
    return f"by a {bundle.held_by}, for {_span(bundle.held_seconds)}{waits}"


def _tls(tls: str) -> str:
    return "plain text" if tls == "none" else tls


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _facts(title: str, facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in facts.items() if value)
    return f"<h2>{title}</h2><table>{rows}</table>"


def _list(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}" for line in lines)
    return f"<h2 class=bad>{title}</h2><ul>{items}</ul>" if items else ""


def _rows(title: str, names: tuple[str, ...], rows: Iterable[tuple[str | int, ...]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td class=n>{cell}" if isinstance(cell, int) else f"<td>{escape(cell)}" for cell in row)
        for row in rows
    )
    head = "".join(f"<th>{escape(name)}" for name in names)
    return f"<h2>{title}</h2><table><tr>{head}{body}</table>" if body else ""


def _span(seconds: float) -> str:
    """Whole units, the two largest: `2 d 3 h`."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
