"""HTTP for operators and scrapers: metrics, readiness, status and a console, which change nothing; and orders.

Orders (revocations) are taken on a Unix socket alone.
"""

from extauthz.admin.control import ControlServer
from extauthz.admin.exchange import Views
from extauthz.admin.orders import OrderError, Orders, Restore, Revoke, Revoked, RevokedPage
from extauthz.admin.passed import PassedControl
from extauthz.admin.server import AdminOptions, AdminServer
from extauthz.admin.status import BundleStatus, IssuerStatus, JournalStatus, Status, TransportStatus, WorkerStatus

__all__ = [
    "AdminOptions",
    "AdminServer",
    "BundleStatus",
    "ControlServer",
    "IssuerStatus",
    "JournalStatus",
    "OrderError",
    "Orders",
    "PassedControl",
    "Restore",
    "Revoke",
    "Revoked",
    "RevokedPage",
    "Status",
    "TransportStatus",
    "Views",
    "WorkerStatus",
]
