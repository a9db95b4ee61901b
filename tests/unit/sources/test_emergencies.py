"""The run-time list with freezes and break glass: approvals count at every moment, and nothing opens that was shut."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from extauthz.bundle.approvals import GlassRequest
from extauthz.bundle.emergencies import compile_glass
from extauthz.bundle.revocations import Known
from extauthz.guards import BreakGlassSpec, Entry, RouteSpec, TenantRegistry, compile_route
from extauthz.model.moment import Moment
from extauthz.model.subject import Subject
from extauthz.sources import (
    Change,
    EmergencyError,
    EmergencyFileError,
    Operator,
    RevocationsOptions,
    RuntimeEmergencies,
    UnknownEntryError,
    load_emergencies,
)
from tests.approvers import LISTED, PUBLIC, approvals

NOW = 1_800_000_000
WHO = Operator("operator-1", 1000, "INC-1", "root")
SPEC: dict[str, Any] = {
    "subjects": [{"issuer": "https://idp.test", "id": "u1"}],
    "routes": [{"host": "api.test", "path": "/loans/**", "methods": ["GET"]}],
}


class Ordered:
    """A list, its file, two clocks and what it said."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.file, self.changes = directory / "revoked", []
        self.now, self.ticks = float(NOW), 50.0
        self.options = RevocationsOptions(**{"file": str(self.file)} | options)
        self.list = self.fresh()

    def fresh(self) -> RuntimeEmergencies:
        found = RuntimeEmergencies(self.options, lambda: self.now, self.changes.append, lambda: self.ticks)
        found.set_approvers(LISTED)
        return found

    def restarted(self) -> "Ordered":
        self.list.close()
        self.list = self.fresh()
        self.list.open()
        return self

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds

    def request(self, number: int = 0, end: int = 3600, **fields: Any) -> GlassRequest:
        request = GlassRequest(
            id=f"g-{number:016x}",
            break_glass=msgspec.convert(SPEC, BreakGlassSpec),
            begin=datetime.fromtimestamp(self.now, UTC),
            end=datetime.fromtimestamp(self.now + end, UTC),
            ticket="INC-1",
            justification="core banking is down",
        )
        return replace(request, **fields)

    def open(self, request: GlassRequest, *names: str) -> Change:
        glass = compile_glass(request, Known(None, TenantRegistry()), [], ())
        assert glass is not None
        return self.list.open_glass(glass, request, approvals(request, *names), WHO)

    def freeze(self, **fields: Any) -> Change:
        wanted = {"selector": "client", "value": "app", "until": int(self.now) + 3600} | fields
        return self.list.add(Entry(**wanted), WHO, freeze=True)

    def opened(self) -> list[str]:
        moment = self.list.moment(int(self.now))
        return [glass.id for glass in self.list.listed.opened if glass.is_in_force(moment)]

    def said(self) -> list[tuple[str, str]]:
        return [(change.kind, change.entry.id) for change in self.changes]


@pytest.fixture
def ordered(tmp_path: Path) -> Ordered:
    found = Ordered(tmp_path)
    assert found.list.open() is None
    return found


def test_what_two_have_approved_opens_and_stays_open_after_a_restart_until_its_end(ordered: Ordered) -> None:
    change = ordered.open(ordered.request())
    name = change.entry.id
    assert ("added", ("duty-manager", "ciso")) == (change.kind, change.approvers)
    assert [name] == ordered.opened() == ordered.restarted().opened()
    ordered.pass_time(3600)
    assert [] == ordered.opened()
    ordered.list.sweep()
    assert ("expired", name) == ordered.said()[-1]
    assert b"g-" not in ordered.file.read_bytes() or ordered.restarted().list.glasses() == []


@pytest.mark.parametrize("names", [("ciso",), ("ciso", "ciso"), ("ciso", "stranger"), ("stranger",)])
def test_nothing_less_opens(ordered: Ordered, names: tuple[str, ...]) -> None:
    with pytest.raises(EmergencyError, match="approvals: "):
        ordered.open(ordered.request(), *names)
    assert ([], []) == (ordered.opened(), ordered.changes)
    assert [] == ordered.restarted().opened()


def test_what_is_written_into_the_file_by_hand_opens_nothing(ordered: Ordered) -> None:
    """Whoever can write the file can make its digest fit; the approvals cannot be made."""
    ordered.open(ordered.request())
    ordered.list.close()
    head, line = ordered.file.read_bytes().splitlines()
    forged = line.replace(b'"u1"', b'"u2"')
    assert forged != line
    changed = json.loads(head) | {"sha256": hashlib.sha256(forged + b"\n").hexdigest()}
    for file in (ordered.file, ordered.file.with_name("revoked.copy")):
        file.write_bytes(json.dumps(changed).encode() + b"\n" + forged + b"\n")
    assert [] == ordered.restarted().opened()
    assert [None] == [glass for _, glass in ordered.list.glasses()], "it is listed, as not approved"


def test_an_ended_glass_stays_ended_and_its_approvals_are_used_up(ordered: Ordered) -> None:
    request = ordered.request()
    name = ordered.open(request).entry.id
    ordered.list.end(name, WHO)
    assert [] == ordered.opened() == ordered.restarted().opened()
    for _ in range(2):
        with pytest.raises(EmergencyError, match=f"`{name}` was opened before"):
            ordered.open(request)
        ordered.restarted()
    with pytest.raises(UnknownEntryError):
        ordered.list.end(name, WHO)
    ordered.pass_time(3600)
    with pytest.raises(EmergencyError, match="end: must be in the future"):
        ordered.open(request)
    assert [("added", name), ("removed", name)] == ordered.said(), "what was ended does not expire as well"


def test_approvers_count_at_every_moment(ordered: Ordered) -> None:
    name = ordered.open(ordered.request()).entry.id
    ordered.list.set_approvers({"ciso": PUBLIC["ciso"]})
    assert [] == ordered.opened()
    assert ("unapproved", name) == ordered.said()[-1]
    ordered.list.set_approvers(LISTED)
    assert [name] == ordered.opened()
    swapped = {"ciso": PUBLIC["stranger"], "duty-manager": PUBLIC["duty-manager"]}
    ordered.list.set_approvers(swapped)
    assert [] == ordered.opened()


def test_before_anybody_may_approve_nothing_is_open(ordered: Ordered) -> None:
    ordered.open(ordered.request())
    ordered.list.close()
    fresh = RuntimeEmergencies(ordered.options, lambda: ordered.now, ordered.changes.append, lambda: ordered.ticks)
    fresh.open()
    assert () == fresh.listed.opened


def test_of_a_damaged_file_freezes_survive_and_break_glass_does_not(ordered: Ordered) -> None:
    frozen = ordered.freeze().entry.id
    ordered.open(ordered.request())
    ordered.list.close()
    ordered.file.write_bytes(b"damaged")
    ordered.list = ordered.fresh()
    found = ordered.list.open()
    assert ("copy", 1) == (found.origin, found.dropped)
    assert ([], [frozen]) == (ordered.opened(), [entry.id for entry in ordered.list.entries()])
    assert [] == ordered.restarted().opened(), "and is not there when it starts the next time"


def test_no_more_than_64_are_open_or_remembered(ordered: Ordered) -> None:
    for number in range(64):
        ordered.open(ordered.request(number))
    ordered.list.end("g-0000000000000000", WHO)
    with pytest.raises(EmergencyError, match="the list is full"):
        ordered.open(ordered.request(64))
    ordered.freeze()


def test_what_another_process_keeps_is_followed_whole(ordered: Ordered, tmp_path: Path) -> None:
    """As workers follow the one that was asked: break glass counts by the follower's own approvers."""
    told: list[tuple[Change, list[Any]]] = []
    ordered.list.share = lambda change, entries: told.append((change, entries))
    ordered.freeze()
    name = ordered.open(ordered.request()).entry.id
    follower = Ordered(tmp_path, file="")
    for change, entries in told:
        raw = msgspec.json.encode((change, entries))
        follower.list.adopt(entries, msgspec.json.decode(raw, type=tuple[Change, list[Any]])[0])
    assert [name] == follower.opened()
    assert ordered.said() == follower.said()
    follower.list.set_approvers({})
    assert [] == follower.opened()


def test_what_has_ended_meanwhile_is_not_taken_over_and_not_told_twice(ordered: Ordered, tmp_path: Path) -> None:
    ordered.freeze()
    entries = list(ordered.list._entries.values())
    follower = Ordered(tmp_path, file="")
    follower.pass_time(3600)
    follower.list.adopt(entries)
    assert ([], []) == (follower.list.entries(), follower.changes)


# --- time


@pytest.mark.parametrize("step", [-7200.0, -10.0, 10.0, 7200.0])
def test_a_clock_that_is_set_ends_no_freeze_early_and_no_break_glass_late(ordered: Ordered, step: float) -> None:
    ordered.freeze()
    ordered.open(ordered.request())
    ordered.now += step
    assert step == ordered.list.clock.step()

    def state() -> tuple[bool, bool]:
        moment = ordered.list.moment(int(ordered.now))
        return ordered.list.listed.denied.in_force(moment.earliest) == 0 and bool(_frozen(ordered, moment)), bool(
            ordered.opened()
        )

    frozen, _ = state()
    assert frozen, "whatever the clock says"
    ordered.pass_time(3600)
    assert (step < 0, False) == (bool(_frozen(ordered, ordered.list.moment(int(ordered.now)))), bool(ordered.opened()))
    ordered.pass_time(abs(step))
    assert not _frozen(ordered, ordered.list.moment(int(ordered.now)))


def _frozen(ordered: Ordered, moment: Moment) -> Any:
    return ordered.list.listed.denied.find(Subject(issuer="https://idp.test", id="x", client="app"), "", moment)


def test_an_empty_list_believes_the_clock_again(ordered: Ordered) -> None:
    ordered.now -= 7200
    ordered.list.sweep()
    assert 0.0 == ordered.list.clock.step()
    name = ordered.open(ordered.request()).entry.id
    ordered.pass_time(3599)
    assert [name] == ordered.opened()


def test_sweeping_tells_of_every_end_once(ordered: Ordered) -> None:
    first, second = ordered.freeze().entry.id, ordered.freeze(value="web", until=NOW + 60).entry.id
    for _ in range(3):
        ordered.list.sweep()
    ordered.pass_time(60)
    for _ in range(3):
        ordered.list.sweep()
    assert [("added", first), ("added", second), ("expired", second)] == ordered.said()


# --- freezes


@pytest.mark.parametrize(
    ("fields", "seconds", "message"),
    [
        ({}, 30 * 86400 + 1, "until: a freeze lasts 30 days at most"),
        ({"selector": "everything", "value": ""}, 7 * 86400 + 1, "until: a freeze of everything lasts 7 days at most"),
        ({}, 0, "until: must be in the future"),
        (
            {"issuer": "https://idp.test", "selector": "everything", "value": ""},
            60,
            "issuer: everything belongs to no issuer",
        ),
        ({"issuer": "https://idp.test", "selector": "tenant"}, 60, "issuer: a tenant belongs to no issuer"),
    ],
)
def test_a_freeze_that_could_not_be_meant_is_refused(ordered: Ordered, fields: Any, seconds: int, message: str) -> None:
    with pytest.raises(EmergencyError, match=message):
        ordered.freeze(until=NOW + seconds, **fields)
    assert ([], []) == (ordered.changes, ordered.list.entries())


def test_a_frozen_route_is_kept_as_it_was_written(ordered: Ordered) -> None:
    spec = RouteSpec(host="api.test", path="/Loans/**", methods=("GET",))
    entry = Entry(selector="route", value=spec.text, until=NOW + 60, route=compile_route(spec, [], ()))
    ordered.list.add(entry, WHO, spec, freeze=True)
    for _ in range(2):
        found = ordered.list.listed.denied.find_route("api.test", ("loans", "7"), "GET", ordered.list.moment(NOW))
        assert found is not None
        assert "GET api.test/Loans/**" == found.value
        ordered.restarted()


def test_revocations_and_freezes_are_counted_apart(ordered: Ordered) -> None:
    ordered.freeze()
    ordered.list.add(Entry(selector="client", value="web"), WHO)
    assert 1 == ordered.list.in_force()
    assert ["f", "r"] == sorted(entry.id[0] for entry in ordered.list.entries())


# --- offline


def test_a_file_is_read_without_holding_it_and_by_the_bundles_approvers(ordered: Ordered) -> None:
    ordered.open(ordered.request())
    assert 1 == len(load_emergencies(ordered.file, LISTED).opened)
    assert 0 == len(load_emergencies(ordered.file, {}).opened)
    ordered.list.close()
    ordered.file.write_bytes(b"damaged")
    with pytest.raises(EmergencyFileError, match=r"is damaged: .*: a server would start from its copy"):
        load_emergencies(ordered.file, LISTED)
    ordered.file.unlink()
    with pytest.raises(EmergencyFileError, match="there is no revocation file"):
        load_emergencies(ordered.file, LISTED)
