"""HTTP for operators and scrapers: metrics, readiness, status and a console, which change nothing; and orders.

Orders (revocations, freezes, break glass) are taken on a Unix socket alone.
"""

from extauthz.admin.bundle_orders import (
    BundleOrdered,
    BundleOrders,
    Changes,
    Happened,
    Pin,
    Promote,
    Revision,
    RevisionPage,
    Rollback,
    Unpin,
)
from extauthz.admin.control import ControlServer
from extauthz.admin.desk import Desk
from extauthz.admin.exchange import Views
from extauthz.admin.orders import (
    Draft,
    Drafted,
    Emergency,
    EmergencyPage,
    Freeze,
    OpenGlass,
    OrderError,
    Orders,
    Restore,
    Revoke,
    Revoked,
    RevokedPage,
)
from extauthz.admin.passed import PassedControl
from extauthz.admin.server import AdminOptions, AdminServer
from extauthz.admin.status import (
    BundleStatus,
    CandidateStatus,
    EmergencyStatus,
    IssuerStatus,
    JournalStatus,
    Status,
    TransportStatus,
    WorkerStatus,
)

__all__ = [
    "AdminOptions",
    "AdminServer",
    "BundleOrdered",
    "BundleOrders",
    "BundleStatus",
    "CandidateStatus",
    "Changes",
    "ControlServer",
    "Desk",
    "Draft",
    "Drafted",
    "Emergency",
    "EmergencyPage",
    "EmergencyStatus",
    "Freeze",
    "Happened",
    "IssuerStatus",
    "JournalStatus",
    "OpenGlass",
    "OrderError",
    "Orders",
    "PassedControl",
    "Pin",
    "Promote",
    "Restore",
    "Revision",
    "RevisionPage",
    "Revoke",
    "Revoked",
    "RevokedPage",
    "Rollback",
    "Status",
    "TransportStatus",
    "Unpin",
    "Views",
    "WorkerStatus",
]
