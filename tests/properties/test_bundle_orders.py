"""Whatever is published, ordered and restarted in whatever order: what is in force is what the rules say, and nothing else.

The rules once more, in the words of sequences: a source brings what is newer, an order brings what was, a pin keeps all
back, a rollback what is not newer than what ever was in force.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from extauthz.sources.bundles import OrderRefusedError
from tests.unit.bundle.small_bundle import BUNDLE, files
from tests.unit.sources.test_bundle_orders import OWN, WHO, Followed
from tests.unit.sources.test_bundle_restore import write


@pytest.fixture(autouse=True)
def resting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published is complete before anybody looks."""
    monkeypatch.setattr("extauthz.sources.bundles.watched._SETTLE_SECONDS", 0.001)


class Server(RuleBasedStateMachine):
    """A server, and what is expected of it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="extauthz-orders-"))
        self.live = self.mark = self.published = self.source = 1
        self.waiting = 0
        self.hold = ""
        self.held = 0  # what an order put in force
        self.left: set[int] = set()
        self.permits: set[int] = set()
        self._write(1)
        self.server = Followed(self.root, keep=50, run_tests=False)

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def _write(self, sequence: int) -> None:
        name = f"r{sequence}"
        write(self.root / "bundle", OWN.package(files(bundle=BUNDLE.replace("small-1", name)), sequence, revision=name))

    @rule()
    def publish_something_newer(self) -> None:
        self.published += 1
        self._bring(self.published)

    @rule(data=st.data())
    def publish_something_again(self, data: st.DataObject) -> None:
        self._bring(data.draw(st.integers(1, self.published)))

    def _bring(self, sequence: int) -> None:
        self._write(sequence)
        self.source = sequence
        self.server.source.refresh()
        self._brought(sequence)

    def _brought(self, sequence: int) -> None:
        readable = sequence >= self.mark or sequence in self.permits
        if self.hold:
            readable = readable or sequence == self.held or sequence in self.left
        if not readable:
            return
        if sequence == self.live:
            self.waiting = 0
        elif self.hold == "pin" or (self.hold and sequence != self.held and sequence <= self.mark):
            self.waiting = sequence
        else:
            self._in_force(sequence)

    def _in_force(self, sequence: int) -> None:
        self.live, self.hold, self.waiting, self.left = sequence, "", 0, set()
        if sequence >= self.mark:
            self.permits = set()
        self.mark = max(self.mark, sequence)

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        wanted = data.draw(st.integers(1, self.published))
        if self._order(self.server.orders.rollback, f"r{wanted}", 1):
            self._ordered("rollback", wanted)

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        wanted = data.draw(st.integers(1, self.published))
        if self._order(self.server.orders.pin, f"r{wanted}"):
            self._ordered("pin", wanted)

    def _ordered(self, kind: str, wanted: int) -> None:
        if self.hold:
            self.permits.discard(self.held)
        if wanted < self.mark:
            self.permits.add(wanted)
        self.left = set() if self.hold == "pin" else set(self.left)
        if kind == "rollback":
            self.left.add(self.live)
        self.waiting = self.waiting or self.live
        self.live = self.held = wanted
        self.mark = max(self.mark, wanted)
        self.hold = kind
        if self.waiting == wanted:
            self.waiting = 0

    def _order(self, order: Any, *arguments: Any) -> bool:
        """Whether it was carried out; when not, nothing has changed, which the invariant looks at."""
        try:
            order(*arguments, operator=WHO)
        except OrderRefusedError:
            return False
        return True

    @precondition(lambda self: self.hold or self.waiting)
    @rule()
    def unpin(self) -> None:
        self.server.orders.unpin(WHO)
        held, waiting, self.hold, self.left = self.held, self.waiting, "", set()
        if held < self.mark:
            self.permits.add(held)
        if waiting >= self.mark or waiting in self.permits:
            self._in_force(waiting)

    @rule()
    def restart(self) -> None:
        self.server.start()  # which reads the directory anew
        self._brought(self.source)

    @invariant()
    def what_is_in_force_is_what_should_be(self) -> None:
        state, kept = self.server.orders.kept()
        (active,) = [each for each in kept if each.id == state.active]
        assert f"r{self.live}" == self.server.revision == active.revision
        assert active.digest == self.server.live.status().digest
        assert (self.hold or None) == (state.hold.kind if state.hold else None)
        assert (f"r{self.waiting}" if self.waiting else "") == self.server.waiting
        assert self.mark == state.marks["small"].sequence


TestServer = Server.TestCase
TestServer.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
