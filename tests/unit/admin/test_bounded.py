"""What both admin listeners share."""

import time
from pathlib import Path
from socketserver import BaseServer

import pytest
from prometheus_client import CollectorRegistry

from extauthz.admin import AdminOptions, AdminServer, ControlServer, Views


@pytest.mark.parametrize("kind", ["admin", "control"])
def test_a_stop_wakes_the_thread_that_waits_for_connections(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom it would look by itself."""
    forever = BaseServer.serve_forever
    monkeypatch.setattr(BaseServer, "serve_forever", lambda server: forever(server, 60.0))
    views = Views(CollectorRegistry(), lambda: (), lambda: None)
    made = (
        AdminServer(AdminOptions(address="127.0.0.1:0"), views)
        if kind == "admin"
        else ControlServer(str(tmp_path / "s"), None)
    )
    made.bind()
    made.start()
    began = time.monotonic()
    made.stop()
    assert time.monotonic() - began < 30
