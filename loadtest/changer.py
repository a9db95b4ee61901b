"""Activations, rollbacks and freezes, one after the other, while requests are under way.

After each order the next request must see it: nothing is waited for. An activation comes from the source, so its time
is taken.
"""

import http.client
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from loadtest.revisions import FREEZABLE, HOST, Site

_PATIENCE = 60.0
_BETWEEN = 0.01  # two looks
_WHO = {"operator": "load", "reason": "make changes"}


class Plan(Struct, frozen=True, kw_only=True):
    """What is to happen."""

    rate: float  # requests a second
    activations: int
    rollbacks: int
    freezes: int

    def every(self, count: int) -> int:
        """After how many activations one of `count` comes."""
        return max(1, self.activations // count) if count else self.activations + 1


class Span(Struct, frozen=True):
    """Two moments of `perf_counter`."""

    begin: float
    end: float


class Changer(threading.Thread):
    """Carries a plan out."""

    def __init__(self, plan: Plan, site: Site, control: str, gateway: tuple[str, int], token: str) -> None:
        super().__init__(name="changer", daemon=True)
        self._plan, self._site, self._control = plan, site, control
        self._gateway, self._token = gateway, token
        self._connection = http.client.HTTPConnection(*gateway)
        self.done = threading.Event()
        self.problems: list[str] = []
        self.refused = 0  # requests of our own that were not decided
        self.order: list[int] = [0]  # the revisions in the order in which they were put in force
        self.activations: list[float] = []  # seconds from the change to the first answer by it
        self.rollbacks: list[float] = []  # seconds that the order took
        self.freezes: list[float] = []
        self.ends: list[float] = []
        self.frozen: list[Span] = []  # from the answer to the freeze to the order that ended it
        self.thawed: list[Span] = []  # from the answer to that to the next freeze

    def run(self) -> None:
        """All of it, or until something is wrong with the harness itself."""
        try:
            self._carry_out()
        except Exception as error:  # noqa: BLE001 - told to whoever reads the result
            self.problems.append(f"the run ended early: {type(error).__name__}: {error}")
        finally:
            self.done.set()
            self._connection.close()

    def _carry_out(self) -> None:
        plan = self._plan
        rollback, freeze = plan.every(plan.rollbacks), plan.every(plan.freezes)
        for number in range(1, plan.activations + 1):
            self._activate(number)
            if number % rollback == 0 and len(self.rollbacks) < plan.rollbacks:
                self._roll_back(number)
            if number % freeze == 0 and len(self.freezes) < plan.freezes:
                self._freeze()

    def _activate(self, number: int) -> None:
        self.order.append(number)
        began = time.perf_counter()
        self._site.publish(number)
        while self._answer(f"/parity/{number % 2}")[1] != str(number):
            if time.perf_counter() - began > _PATIENCE:
                message = f"revision {number} is not in force after {_PATIENCE:.0f} s"
                raise TimeoutError(message)
            time.sleep(_BETWEEN)
        self.activations.append(time.perf_counter() - began)

    def _roll_back(self, number: int) -> None:
        self.order.append(number - 1)
        began = time.perf_counter()
        self._ask("POST", "/bundle/rollback", _WHO)
        self.rollbacks.append(time.perf_counter() - began)
        found = self._answer(f"/parity/{(number - 1) % 2}")
        if found != (200, str(number - 1)):
            self.problems.append(f"the request after the rollback from {number} got {found}")

    def _freeze(self) -> None:
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        route = {"host": HOST, "path": FREEZABLE}
        began = time.perf_counter()
        if self.thawed:
            self.thawed[-1] = Span(self.thawed[-1].begin, began)
        frozen = self._ask("POST", "/freezes", {"route": route, "until": until, **_WHO})
        begin = time.perf_counter()
        self.freezes.append(begin - began)
        self._expect(403, "frozen")
        time.sleep(0.3)
        end = time.perf_counter()
        self.frozen.append(Span(begin, end))
        self._ask("DELETE", f"/emergencies/{frozen['id']}", _WHO)
        now = time.perf_counter()
        self.ends.append(now - end)
        self.thawed.append(Span(now, float("inf")))
        self._expect(200, "thawed")

    def _expect(self, status: int, word: str) -> None:
        found = self._answer(FREEZABLE)[0]
        if found != status:
            self.problems.append(f"the request after it was {word} got {found}")

    def _answer(self, path: str) -> tuple[int, str]:
        """Status of a request of our own, the first that is decided, and the revision that its answer names."""
        while True:
            self._connection.request("GET", path, headers={"host": HOST, "authorization": f"Bearer {self._token}"})
            answer = self._connection.getresponse()
            answer.read()
            if answer.status != http.client.SERVICE_UNAVAILABLE:
                return answer.status, answer.headers.get("x-policy", "")
            self.refused += 1
            time.sleep(_BETWEEN)

    def _ask(self, method: str, target: str, order: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_PATIENCE)
        try:
            connection.sock.connect(self._control)
            connection.request(method, target, msgspec.json.encode(order), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found: dict[str, Any] = msgspec.json.decode(answer.read())
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            message = f"{method} {target}: {found}"
            raise RuntimeError(message)
        return found
