"""An Envoy of some variant, and how tests talk to it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extauthz.cli.demo_envoy import Envoy
from tests.envoy.clients import Answer, send_h1, send_h2


@dataclass
class Gateway:
    """A running Envoy of some variant."""

    envoy: Envoy
    log: Path

    @property
    def port(self) -> int:
        return self.envoy.ports["inbound"]

    def h1(self, target: str, headers: Any = (), **options: Any) -> Answer:
        return send_h1(self.port, target, headers, **options)

    def h2(self, headers: list[tuple[str, str]], **options: Any) -> Answer:
        return send_h2(self.port, headers, **options)

    def log_entry(self, decision_id: str, seconds: float = 5.0) -> dict[str, Any]:
        """The access log's line on a decision; Envoy writes it a little after the answer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines() if self.log.exists() else []:
                entry: dict[str, Any] = json.loads(line)
                if entry["decision_id"] == decision_id:
                    return entry
            time.sleep(0.01)
        message = f"no line on {decision_id} in the access log"
        raise AssertionError(message)


Launch = Callable[..., Gateway]
