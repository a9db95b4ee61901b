"""HTTP for operators and scrapers: metrics, readiness, status and a console. It changes nothing."""

from extauthz.admin.exchange import Views
from extauthz.admin.server import AdminOptions, AdminServer
from extauthz.admin.status import BundleStatus, IssuerStatus, JournalStatus, Status, TransportStatus

__all__ = [
    "AdminOptions",
    "AdminServer",
    "BundleStatus",
    "IssuerStatus",
    "JournalStatus",
    "Status",
    "TransportStatus",
    "Views",
]
