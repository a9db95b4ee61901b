"""Who gives an order: as they call themselves, and as the kernel knows them."""

import pwd

from extauthz.sources import Operator


def operator_of(name: str, uid: int, reason: str) -> Operator:
    """With the account that the kernel saw, where that uid has a name."""
    try:
        account = pwd.getpwuid(uid).pw_name
    except KeyError:
        account = ""
    return Operator(name, uid, reason, account)
