"""Who takes orders of the control socket."""

from msgspec import Struct

from extauthz.admin.bundle_orders import BundleOrders
from extauthz.admin.orders import Orders


class Desk(Struct, frozen=True):
    """By what they are about."""

    emergencies: Orders
    bundles: BundleOrders
