"""Emergency documents for the small bundle."""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import yaml

from extauthz.bundle.approvals import ApprovalSpec
from extauthz.bundle.emergencies import EmergencySpec, glass_request
from tests.approvers import YAML, approvals
from tests.unit.bundle.small_bundle import BUNDLE, files

HEAD = "apiVersion: extauthz.io/v1\nkind: Emergency\nmetadata: {name: inc-1}\nspec:\n"
WHEN = "  begin: 2026-01-01T00:00:00Z\n  end: 2026-01-01T02:00:00Z\n  ticket: INC-1\n"
GLASS = (
    "  breakGlass:\n"
    "    subjects: [{issuer: bank, id: u1}]\n"
    '    routes: [{host: api.bank.test, path: "/api/{tenant}/loans/**", methods: [GET, POST]}]\n'
)
WHY = "  justification: core banking is down\n"
APPROVERS = BUNDLE.replace("{revision: small-1}\n", "\n  revision: small-1\n  approvers:\n" + YAML)


def around_now(hours: float = 1, begin: float = -1) -> str:
    """Times from `begin` hours from now for `hours` after now."""
    now = datetime.now(UTC)
    return f"  begin: {(now + timedelta(hours=begin)).isoformat()}\n  end: {(now + timedelta(hours=hours)).isoformat()}\n  ticket: INC-1\n"


def freeze(*targets: str, when: str = WHEN) -> str:
    return HEAD + "  freeze:\n" + "".join(f"  - {target}\n" for target in targets) + when


def signed(text: str, *names: str) -> str:
    """The document with approvals of these approvers, or of both that are listed."""
    document = yaml.decode(text.encode())
    spec = msgspec.convert(document["spec"], EmergencySpec)
    request = glass_request(document["metadata"]["name"], spec)
    assert request is not None
    return text + "  approvals:\n" + "".join(map(_line, approvals(request, *names)))


def glass(body: str = GLASS, when: str = WHEN, why: str = WHY, more: str = "") -> str:
    return HEAD + body + when + why + more


def bundle(*documents: str, **more: str | None) -> dict[str, bytes]:
    texts: dict[str, str | None] = {"bundle": APPROVERS}
    texts |= {f"emergency{number}": text for number, text in enumerate(documents)}
    return files(**{**texts, **more})


def _line(approval: ApprovalSpec) -> str:
    return f"  - {{approver: {approval.approver}, signature: {approval.signature}}}\n"
