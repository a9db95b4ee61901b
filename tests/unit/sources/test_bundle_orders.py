"""Orders of operators about bundles: back, pinned, forward again; only what was kept, exactly as it was."""

import shutil
import time
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from extauthz.bundle import bundle_digest
from extauthz.bundle.difference import Difference
from extauthz.sources import Activation, BundleOptions, BundleSource, Live, Operator
from extauthz.sources.bundles import Ordered, OrderRefusedError
from extauthz.sources.bundles.options import FetchOptions, TrustedKeyOptions, TrustOptions
from tests.archives import Signer
from tests.unit.bundle.small_bundle import BUNDLE, POLICY, files
from tests.unit.sources.test_bundle_restore import write

pytestmark = pytest.mark.usefixtures("resting")
OWN = Signer()
WHO = Operator("operator-1", 0, "INC-1", "root")


class Followed:
    """A source with its live snapshot, everything that was reported, and everything that was put on record."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root, self.options = root, options
        self.passed = 0.0  # seconds, of its clock
        self.directory, self.state = root / "bundle", root / "state"
        self.start()

    def start(self) -> None:
        trust = TrustOptions(keys=(TrustedKeyOptions(id=OWN.id),))
        given = {
            "directory": str(self.directory),
            "state_directory": str(self.state),
            "trust": trust,
            "fetch": FetchOptions(timeout_seconds=0.5),
            **self.options,
        }
        self.live = Live()
        self.reports: list[Activation] = []
        self.records: list[Ordered] = []
        self.shared: list[Ordered] = []
        self.at_record: list[str] = []  # what was in force when something was put on record
        clock = lambda: time.time() + self.passed  # noqa: E731 - one line of a test
        self.source = BundleSource(BundleOptions(**given), self.live, self.reports.append, clock=clock)
        self.orders = self.source.orders
        self.orders.on_order, self.orders.share = self.note, self.shared.append
        self.source.begin()

    def note(self, ordered: Ordered) -> None:
        self.records.append(ordered)
        self.at_record.append(self.revision)

    def publish(self, sequence: int, **changes: str) -> None:
        name = f"r{sequence}"
        content = files(bundle=BUNDLE.replace("small-1", name), **changes)
        write(self.directory, OWN.package(content, sequence, revision=name))
        self.source.refresh()

    @property
    def revision(self) -> str:
        return self.live.status().revision

    @property
    def waiting(self) -> str:
        return self.source.status().waiting

    def refused(self, order: Any, *arguments: Any, **named: Any) -> str:
        with pytest.raises(OrderRefusedError) as error:
            order(*arguments, operator=WHO, **named)
        return str(error.value)


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    write(tmp_path / "bundle", OWN.package(files(bundle=BUNDLE.replace("small-1", "r1")), 1, revision="r1"))
    found = Followed(tmp_path)
    for sequence in (2, 3):
        found.publish(sequence)
    return found


def test_a_rollback_gives_exactly_the_revision_before(followed: Followed) -> None:
    done = followed.orders.rollback("", 1, WHO)
    assert ("r2", "r3") == (followed.revision, done.waiting)
    assert bundle_digest(files(bundle=BUNDLE.replace("small-1", "r2"))) == followed.live.status().digest
    assert followed.shared == followed.records == [done.ordered]
    report = followed.reports[-1]
    assert ("activated", "rollback", 2, OWN.id) == (report.result, report.order, report.sequence, report.key)


def test_it_is_on_record_before_it_takes_effect(followed: Followed) -> None:
    followed.orders.rollback("", 1, WHO)
    followed.orders.pin("r3", WHO)
    followed.orders.unpin(WHO)
    assert ["r3", "r2", "r3"] == followed.at_record
    assert ["rollback", "pin", "unpin"] == [record.kind for record in followed.records]
    (back, _, _) = followed.records
    assert back.before is not None
    assert back.after is not None
    assert ("r3", "r2", WHO) == (back.before.revision, back.after.revision, back.operator)


def test_steps_go_on_from_where_one_is(followed: Followed) -> None:
    followed.orders.rollback("", 1, WHO)
    followed.orders.rollback("", 1, WHO)
    assert "r1" == followed.revision
    assert "only 0 older revisions are kept, not 1" == followed.refused(followed.orders.rollback, "", 1)
    followed.orders.unpin(WHO)
    assert "r3" == followed.revision
    followed.orders.rollback("", 2, WHO)
    assert "r1" == followed.revision


@pytest.mark.parametrize("wanted", ["r1", "digest", "id"])
def test_a_revision_is_named_by_its_name_its_id_or_its_digest(followed: Followed, wanted: str) -> None:
    _, kept = followed.orders.kept()
    first = kept[-1]
    followed.orders.rollback({"r1": "r1", "digest": first.digest[:12], "id": first.id}[wanted], 1, WHO)
    assert "r1" == followed.revision


def test_what_was_gone_back_from_waits_and_what_is_newer_comes(followed: Followed) -> None:
    """Also after a restart, at which a directory is read anew."""
    followed.orders.rollback("", 1, WHO)
    for _ in range(2):
        followed.source.refresh()
        assert ("r2", "r3") == (followed.revision, followed.waiting)
        followed.start()
        assert ("r2", "r3") == (followed.revision, followed.waiting)
    followed.publish(4)
    assert ("r4", "") == (followed.revision, followed.waiting)
    assert followed.source.status().hold is None


def test_a_pin_keeps_everything_back_and_survives_restarts(followed: Followed) -> None:
    followed.orders.pin("r2", WHO)
    followed.publish(4)
    assert ("r2", "r4") == (followed.revision, followed.waiting)
    assert "held" == followed.reports[-1].result
    followed.start()
    assert ("r2", "r4") == (followed.revision, followed.waiting)
    followed.publish(5)
    assert ("r2", "r5") == (followed.revision, followed.waiting)
    done = followed.orders.unpin(WHO)
    assert ("r5", "", "") == (followed.revision, followed.waiting, done.note)
    followed.start()
    assert "r5" == followed.revision


def test_without_a_name_what_is_in_force_is_pinned(followed: Followed) -> None:
    followed.orders.pin("", WHO)
    followed.publish(4)
    assert ("r3", "r4") == (followed.revision, followed.waiting)
    assert followed.refused(followed.orders.pin, "") == "`r3` is pinned already, by operator-1"


def test_a_pin_is_not_rolled_back_from_by_somebody_else(followed: Followed) -> None:
    followed.orders.pin("", WHO)
    assert "`r3` is pinned by operator-1" in followed.refused(followed.orders.rollback, "", 1)
    followed.orders.pin("r1", WHO)
    assert "r1" == followed.revision


def test_what_waits_is_checked_like_everything_that_comes(followed: Followed) -> None:
    followed.orders.pin("", WHO)
    followed.publish(4, policy=POLICY.replace("kind: AccessPolicy", "kind: Nonsense"))
    assert ("r3", "") == (followed.revision, followed.waiting)
    assert "rejected" == followed.reports[-1].result
    followed.publish(5)
    (archive,) = (followed.state / "revisions").glob("5-*.tar.gz")
    archive.write_bytes(b"other")
    done = followed.orders.unpin(WHO)
    assert "r3" == followed.revision
    assert "`r5` does not come into force" in done.note
    assert "is damaged: its digest is not the one that was noted" in done.note


def test_anti_rollback_stays_as_it_was(followed: Followed) -> None:
    followed.orders.rollback("", 1, WHO)
    write(followed.directory, OWN.package(files(bundle=BUNDLE.replace("small-1", "r1")), 1, revision="r1"))
    followed.source.refresh()
    assert "r2" == followed.revision
    assert "is lower than 3, which was in force: a rollback" in str(followed.reports[-1].findings[0])
    write(followed.directory, OWN.package(files(bundle=BUNDLE.replace("small-1", "r2")), 2, revision="r2"))
    followed.source.refresh()
    assert ("r2", "") == (followed.revision, followed.waiting), "it is what is in force"
    followed.orders.unpin(WHO)
    followed.start()
    assert "r2" == followed.revision, "the leave lasts until something newer comes"
    followed.publish(3)
    write(followed.directory, OWN.package(files(bundle=BUNDLE.replace("small-1", "r2")), 2, revision="r2"))
    followed.source.refresh()
    assert "r3" == followed.revision, "and no longer"


def test_a_damaged_copy_is_refused_and_what_is_in_force_stays(followed: Followed) -> None:
    (archive,) = (followed.state / "revisions").glob("2-*.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-9] + b"\0" * 9)
    assert "is damaged: its digest is not the one that was noted" in followed.refused(followed.orders.rollback, "", 1)
    assert "r3" == followed.revision
    (record,) = followed.records
    assert ("rollback", None) == (record.kind, record.after)
    assert "is damaged" in record.why_not
    assert [] == followed.shared


def test_a_copy_with_other_files_that_are_signed_well_is_refused(followed: Followed) -> None:
    """Whoever can write to the disk and has an archive by a trusted key cannot pass it for another revision."""
    (archive,) = (followed.state / "revisions").glob("2-*.tar.gz")
    (about,) = (followed.state / "revisions").glob("2-*.json")
    (other,) = (followed.state / "revisions").glob("3-*.tar.gz")
    (other_about,) = (followed.state / "revisions").glob("3-*.json")
    old, new = (path.read_text().split('"sha256":"')[1][:64] for path in (about, other_about))
    archive.write_bytes(other.read_bytes())
    about.write_text(about.read_text().replace(old, new))
    assert "their digest is another" in followed.refused(followed.orders.rollback, "", 1)
    assert "r3" == followed.revision


def test_a_key_that_expired_since_counts_no_more(tmp_path: Path) -> None:
    """What was in force stays; the way back is forward, signed with a current key."""
    until, current = datetime.now(UTC) + timedelta(hours=1), Signer()
    keys = (TrustedKeyOptions(id=OWN.id, not_after=until), TrustedKeyOptions(id=current.id))
    write(tmp_path / "bundle", OWN.package(files(), 1))
    found = Followed(tmp_path, trust=TrustOptions(keys=keys))
    found.publish(2)
    _, kept = found.orders.kept()
    assert ["trusted"] * 2 == [found.orders.key_state(each) for each in kept]
    found.passed = 3601.0
    assert ["expired"] * 2 == [found.orders.key_state(each) for each in kept]
    why = found.refused(found.orders.rollback, "", 1)
    assert "it may not come into force (verify): .manifest.sig: key " in why
    assert "sign the bundle with a key that is valid" in why
    assert "r2" == found.revision
    write(found.directory, current.package(files(), 3))
    found.source.refresh()
    assert 3 == found.reports[-1].sequence


def test_a_key_that_is_trusted_no_more_vouches_for_nothing(followed: Followed) -> None:
    _, kept = followed.orders.kept()
    later = Followed(followed.root, trust=TrustOptions(keys=(TrustedKeyOptions(id=Signer().id),), required=False))
    assert "not trusted" == later.orders.key_state(kept[0])
    assert "signed by a key that is not trusted" in later.refused(later.orders.rollback, "r2", 1)


def test_a_dry_run_says_what_would_change_and_changes_nothing(followed: Followed) -> None:
    more = POLICY.replace("name: staff", "name: auditors").replace("officer", "auditor")
    followed.publish(4, policy=POLICY.replace("limit >= 10", "limit >= 9"), more=more)
    done = followed.orders.rollback("", 1, WHO, dry_run=True)
    assert ("r4", [], []) == (followed.revision, followed.records, followed.shared)
    expected = Difference(removed=("auditors",), changed=("staff",), documents=("Bundle/small",))
    assert expected == done.difference


def test_without_a_state_directory_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    write(tmp_path / "bundle", OWN.package(files(), 1))
    found = Followed(tmp_path, state_directory="", trust=TrustOptions())
    assert "`bundle.stateDirectory` is not set, so no revision is kept" == found.refused(found.orders.rollback, "", 1)


@pytest.mark.parametrize(("name", "reason"), [("", "x"), ("x", " "), ("x", "y" * 501), ("x\n", "y")])
def test_nobody_orders_without_a_name_and_a_reason(followed: Followed, name: str, reason: str) -> None:
    for order in (followed.orders.rollback, followed.orders.pin):
        with pytest.raises(OrderRefusedError, match="must be 1 to"):
            order("r2", *((1,) if order == followed.orders.rollback else ()), operator=Operator(name, 0, reason))
    assert ("r3", []) == (followed.revision, followed.records)


def test_an_unsigned_directory_can_be_rolled_back_too(tmp_path: Path) -> None:
    """Nothing is counted there: what was gone back from is known by its digest."""
    found = Followed(tmp_path, trust=TrustOptions())
    for name in ("a", "b", "c"):
        shutil.rmtree(found.directory, ignore_errors=True)
        found.directory.mkdir()
        for path, content in files(bundle=BUNDLE.replace("small-1", name)).items():
            (found.directory / path).parent.mkdir(exist_ok=True)
            (found.directory / path).write_bytes(content)
        found.source.refresh()
    found.orders.rollback("", 2, WHO)
    assert ("a", "c") == (found.revision, found.waiting)
    found.start()
    assert ("a", "c") == (found.revision, found.waiting)
    (found.directory / "bundle.yaml").write_text(BUNDLE.replace("small-1", "d"))
    found.source.refresh()
    assert ("d", "") == (found.revision, found.waiting)


def test_a_full_disk_refuses_the_order(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("extauthz.sources.bundles.store.os.fsync", full)
    assert "cannot be used: no space left on device" in followed.refused(followed.orders.rollback, "", 1)
    assert "r3" == followed.revision
    assert ["", "disk"] == [record.why_not and "disk" for record in followed.records], "the second record says so"


def test_what_another_process_ordered_is_followed(followed: Followed) -> None:
    """Workers share the directory; whoever was told looks at the disk."""
    other = Followed(followed.root)
    done = other.orders.rollback("", 1, WHO)
    assert "r3" == followed.revision
    followed.orders.follow(done.ordered)
    assert ("r2", "r3") == (followed.revision, followed.at_record[-1])
    assert followed.records[-1].told
    other.orders.unpin(WHO)
    followed.orders.follow(other.records[-1])
    assert "r3" == followed.revision


def test_the_history_says_who_and_why(followed: Followed) -> None:
    began = time.time()
    followed.orders.rollback("", 1, WHO)
    state, _ = followed.orders.kept()
    assert ["r1", "r2", "r3", "r2"] == [past.revision for past in state.history]
    last = state.history[-1]
    assert ("rollback", "r3", WHO) == (last.what, last.before, last.operator)
    assert began <= last.at <= time.time()


def test_a_rollback_compiles_nothing_that_was_in_force_just_before(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it takes as long for ten thousand policies as for ten."""
    monkeypatch.setattr("extauthz.sources.bundles.intake.build", None)
    followed.orders.rollback("", 1, WHO)
    assert "r2" == followed.revision


def test_no_more_is_kept_in_memory_than_what_was_in_force_just_before(followed: Followed) -> None:
    seen = []
    for sequence in range(4, 9):
        followed.publish(sequence)
        assert followed.live.current is not None
        seen.append(weakref.ref(followed.live.current.policies))
    assert [False, False, False, True, True] == [ref() is not None for ref in seen]
    followed.orders.rollback("", 3, WHO)
    assert "r5" == followed.revision
    assert [False, False, False, False, True] == [ref() is not None for ref in seen]


def test_a_restart_goes_back_to_nothing(followed: Followed) -> None:
    """The order is on record since it was given, and once."""
    followed.orders.rollback("", 1, WHO)
    followed.start()
    assert "r2" == followed.revision
    assert [None] == [report.permit for report in followed.reports if report.result == "activated"]
