"""The state directory: the last good bundle, those before it, and marks that never fall, whatever happens to the disk."""

import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec.structs import replace

from extauthz.bundle import bundle_digest, pack
from extauthz.bundle.verify import Mark
from extauthz.sources.bundles.state import Kept, Permit, State, StoreError
from extauthz.sources.bundles.store import BundleStore
from tests.archives import Signer
from tests.unit.bundle.small_bundle import files

SIGNER = Signer()


def put(store: BundleStore, sequence: int, text: str = "", activated: float = 0.0, *, permitted: bool = False) -> Kept:
    """Activate a small bundle with that number."""
    content = files(policy=f"# {text or sequence}\n")
    package = SIGNER.package(content, sequence, revision=f"r{sequence}")
    about = Kept(
        name="small",
        revision=f"r{sequence}",
        sequence=sequence,
        digest=bundle_digest(content),
        key=SIGNER.id,
        source="https://bundles.test/small.tar.gz",
        tag=f'"{sequence}"',
        activated=activated or float(sequence),
    )
    if permitted:
        permit = Permit(operator="ana", uid=0, reason="INC-1", given=1.0)
        store.update(lambda state: replace(state, permits={about.digest: permit}))
    found = store.activate(about, pack(package))
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    found = BundleStore(str(tmp_path / "deep" / "state"), keep=3)
    assert State() == found.open()
    return found


def test_what_was_activated_is_there_after_a_restart(store: BundleStore) -> None:
    kept = put(store, 7)
    again = BundleStore(str(store.directory), keep=3)
    state = again.open()
    assert (kept.id, {"small": Mark(7, kept.digest)}, 7.0) == (state.active, state.marks, state.contact)
    found, archive = again.load(state.active)
    assert kept == found
    assert archive == pack(SIGNER.package(files(policy="# 7\n"), 7, revision="r7"))


def test_so_many_revisions_are_kept_as_the_settings_say(store: BundleStore) -> None:
    for number in range(1, 8):
        put(store, number)
    assert ["r7", "r6", "r5"] == [kept.revision for kept in store.revisions()]
    assert 6 == len(list((store.directory / "revisions").iterdir())), "an archive and what is known of it, each"


def test_what_is_in_force_stays_however_old_it_is(store: BundleStore) -> None:
    for number in range(1, 8):
        put(store, number)
    oldest = store.revisions()[-1]
    put(store, oldest.sequence, activated=1.0, permitted=True)  # by a clock that was set back
    assert oldest.id in {kept.id for kept in store.revisions()}
    assert oldest.id == store.state().active


def test_marks_only_rise(store: BundleStore) -> None:
    put(store, 7)
    digest = store.state().marks["small"].digest
    with pytest.raises(StoreError, match="sequence 3 is lower than one that came into force meanwhile"):
        put(store, 3)
    put(store, 3, permitted=True)
    assert {"small": Mark(7, digest)} == store.state().marks
    assert store.state().active.startswith("3-")


def test_leave_to_go_back_ends_when_something_newer_comes(store: BundleStore) -> None:
    put(store, 7)
    older = put(store, 3, permitted=True)
    assert {older.digest} == store.state().permits.keys(), "it is needed after a restart"
    put(store, 3)
    assert {older.digest} == store.state().permits.keys()
    put(store, 8)
    assert {} == store.state().permits


def test_a_damaged_state_is_an_error_and_never_an_empty_one(store: BundleStore) -> None:
    put(store, 7)
    file = store.directory / "state.json"
    good = file.read_bytes()
    for spoilt in (good[:-1], good.replace(b'"sequence":7', b'"sequence":1'), b"", b"{}", b"\xff" * 100, good + b" "):
        file.write_bytes(spoilt)
        with pytest.raises(StoreError, match=r"state.json` is damaged: .*: put a good copy back"):
            store.state()
        with pytest.raises(StoreError, match="is damaged"):
            put(store, 8)
    file.write_bytes(good)
    assert 7 == store.state().marks["small"].sequence


def test_a_damaged_archive_is_not_handed_out(store: BundleStore) -> None:
    kept = put(store, 7)
    file = store.directory / "revisions" / f"{kept.id}.tar.gz"
    content = bytearray(file.read_bytes())
    content[2000] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged: its digest is not the one that was noted"):
        store.load(kept.id)
    file.unlink()
    with pytest.raises(StoreError, match="cannot be read: no such file or directory"):
        store.load(kept.id)


@pytest.mark.parametrize("rubbish", [b"\xff\xfe", b'{"name":"\xff"}', b"", b"[" * 100_000])
def test_a_kept_revision_of_which_the_disk_says_rubbish_keeps_nothing_new_out(
    store: BundleStore, rubbish: bytes
) -> None:
    kept = put(store, 7)
    (store.directory / "revisions" / f"{kept.id}.json").write_bytes(rubbish)
    assert [] == store.revisions()
    with pytest.raises(StoreError, match="cannot be read"):
        store.load(kept.id)
    newer = put(store, 8)
    assert newer.id == store.state().active


@pytest.mark.parametrize("name", ["../1-ab", "1-ab/../1-ab", "1-\0", "", "1-AB"])
def test_what_is_no_name_of_a_kept_revision_names_no_file(store: BundleStore, name: str) -> None:
    with pytest.raises(StoreError, match="no name of one"):
        store.load(name)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the state directory `.*/file/state` cannot be used: not a directory"):
        BundleStore(str(tmp_path / "file" / "state"), keep=1).open()


FULL = """
import resource, sys
sys.path.insert(0, {root!r})
from tests.unit.sources.test_bundle_store import put
from extauthz.sources.bundles.state import StoreError
from extauthz.sources.bundles.store import BundleStore
store = BundleStore({state!r}, keep=3)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    put(store, 8)
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 100, 10_000])
def test_a_full_disk_leaves_everything_as_it_was(store: BundleStore, limit: int) -> None:
    """A limit on the size of files (RLIMIT_FSIZE) stops writes in the middle, as a full disk does."""
    kept = put(store, 7)
    before = {str(path): path.read_bytes() for path in sorted(store.directory.rglob("*")) if path.is_file()}
    script = FULL.format(root=os.getcwd(), state=str(store.directory), limit=limit)  # noqa: PTH109
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "cannot be used: file too large" in done.stdout, done.stderr
    after = {str(path): path.read_bytes() for path in sorted(store.directory.rglob("*")) if path.is_file()}
    assert before == after, "no half a file is left either"
    assert kept.id == store.state().active
    assert resource.RLIM_INFINITY == resource.getrlimit(resource.RLIMIT_FSIZE)[0]


LOOP = """
import sys
sys.path.insert(0, {root!r})
from tests.unit.sources.test_bundle_store import put
from extauthz.sources.bundles.store import BundleStore
store = BundleStore({state!r}, keep=3)
for number in range({first}, {first} + 100_000):
    put(store, number)
    print(number, flush=True)
"""


def test_a_process_that_is_killed_leaves_the_old_state_or_the_new_one(store: BundleStore) -> None:
    """kill -9 at any moment; what was confirmed is there."""
    confirmed = 0
    for wait in (0.0, 0.011, 0.023, 0.037):
        script = LOOP.format(root=os.getcwd(), state=str(store.directory), first=confirmed + 1)  # noqa: PTH109
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            confirmed = int(child.stdout.readline())
            time.sleep(wait)
            child.kill()
            confirmed = max([confirmed, *(int(line) for line in child.stdout.read().split())])
        state = store.state()
        assert state.marks["small"].sequence in {confirmed, confirmed + 1}
        kept, _ = store.load(state.active)
        assert state.marks["small"].sequence == kept.sequence


@pytest.mark.parametrize("survivors", [".tar.gz.new", ".tar.gz", ".json.new"])
def test_what_a_crash_left_behind_is_cleared_away_by_the_next_activation(store: BundleStore, survivors: str) -> None:
    put(store, 7)
    (store.directory / "revisions" / f"9-0123456789abcdef{survivors}").write_bytes(b"half")
    (store.directory / "state.json.new").write_bytes(b"half")
    assert 7 == store.state().marks["small"].sequence
    put(store, 8)
    assert not list((store.directory / "revisions").glob("9-*"))
    assert ["r8", "r7"] == [kept.revision for kept in store.revisions()]


def raise_mark(job: tuple[str, int]) -> None:
    with suppress(StoreError):  # another process was there with a higher one
        put(BundleStore(job[0], keep=3), job[1])


def test_processes_share_it_without_losing_a_mark(store: BundleStore) -> None:
    """Workers of one server follow the same source."""
    jobs = [(str(store.directory), number) for number in range(1, 41)]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(raise_mark, jobs))
    assert 40 == store.state().marks["small"].sequence
    assert len(store.revisions()) <= 4
    store.load(store.state().active)


def test_the_state_can_be_read_by_people(store: BundleStore) -> None:
    put(store, 7)
    digest, _, text = (store.directory / "state.json").read_text().partition("\n")
    assert 64 == len(digest)
    assert 7 == json.loads(text)["marks"]["small"]["sequence"]
