"""What the demo's two small servers share: listen on loopback, say on which port, end on SIGTERM."""

import argparse
import signal
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def parser(about: str | None) -> argparse.ArgumentParser:
    """The options that both take."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--port", type=int, default=0, help="0 lets the kernel choose")
    options.add_argument("--ports-file", type=Path, help="where to write the port once it listens")
    return options


def serve(
    handler: type[BaseHTTPRequestHandler],
    options: argparse.Namespace,
    prepare: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM. `prepare` gets the port before the first request can be answered."""
    server = ThreadingHTTPServer(("127.0.0.1", options.port), handler)
    server.daemon_threads = True
    prepare(server.server_port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if options.ports_file:
        ready = options.ports_file.with_suffix(".tmp")
        ready.write_text(str(server.server_port))
        ready.rename(options.ports_file)  # readers never see half a number
    server.serve_forever()
