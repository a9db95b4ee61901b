"""The server that others are compared with: stock `grpc.server`, four threads, the same bytes for every question."""

import argparse
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

SERVICE, METHOD = "envoy.service.auth.v3.Authorization", "Check"


def main() -> None:
    """Serve until SIGTERM."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--answer", type=Path, required=True, help="file with the bytes of the answer")
    options.add_argument("--ports-file", type=Path, required=True, help="where the port is written")
    given = options.parse_args()
    answer = given.answer.read_bytes()
    server = grpc.server(ThreadPoolExecutor(4))
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda _raw, _context: answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    server.start()
    given.ports_file.write_text(str(port))
    ended.wait()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
