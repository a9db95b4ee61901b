"""The composition root: settings in, a running server out."""

from extauthz.app.server import Addresses, Server, build
from extauthz.app.start_error import StartError

__all__ = ["Addresses", "Server", "StartError", "build"]
