"""The composition root: settings in, a running server out."""

from extauthz.app.server import Addresses, Server, StartError, build

__all__ = ["Addresses", "Server", "StartError", "build"]
