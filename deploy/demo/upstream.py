"""The demo's upstream: answers every request with what reached it, as JSON.

Reads nothing but the request line, headers and a bounded body; keeps the header lines in order and unjoined.
"""

import json
from http.server import BaseHTTPRequestHandler

from loopback import parser, serve

MAX_BODY = 1 << 20


class Echo(BaseHTTPRequestHandler):
    """One request: method, target, header lines and body length, as they arrived."""

    protocol_version = "HTTP/1.1"
    server_version = "demo-upstream"
    disable_nagle_algorithm = True  # the small answer must not wait for an ACK

    def __getattr__(self, name: str) -> object:
        """`do_<METHOD>` for every method: which ones exist is not the upstream's decision."""
        if name.startswith("do_"):
            return self._echo
        raise AttributeError(name)

    def _echo(self) -> None:
        length = min(int(self.headers.get("content-length") or 0), MAX_BODY)
        body = self.rfile.read(length)
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": body.decode("utf-8", "backslashreplace"),
        }
        answer = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing: Envoy's access log has it."""


if __name__ == "__main__":
    serve(Echo, parser(__doc__).parse_args())
