"""A bundle's directory is watched: what is complete and good comes into force, whatever else happens stays outside."""

import gc
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extauthz.sources import Activation, BundleOptions, BundleSource, Live
from tests.unit.bundle.small_bundle import BUNDLE, FILES, POLICY, TEST


def write(root: Path, **changes: str) -> Path:
    named = {f"{name.replace('__', '/')}.yaml": text for name, text in changes.items()}
    for name, text in {**FILES, **named}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def revision(name: str) -> str:
    return BUNDLE.replace("small-1", name)


class Watched:
    """A live snapshot with its source, and everything that was reported."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.live = Live()
        self.reports: list[Activation] = []
        self.source = BundleSource(BundleOptions(directory=str(directory), **options), self.live, self.reports.append)

    @property
    def revision(self) -> str:
        return self.live.status().revision

    @property
    def results(self) -> list[str]:
        return [report.result for report in self.reports]

    def wait(self, condition: Callable[[], bool], seconds: float = 10) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"still {self.revision}: {self.reports}"
            time.sleep(0.01)
        return time.monotonic() - began


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(directory: Path, **options: Any) -> Watched:
        watched = Watched(directory, **options)
        started.append(watched)
        watched.source.start()
        return watched

    yield start
    for watched in started:
        watched.source.stop()


def test_a_good_bundle_comes_into_force_at_start(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    watched = watch(write(tmp_path / "b"))
    watched.wait(lambda: watched.revision == "small-1")
    watched.wait(lambda: watched.results == ["activated"])
    assert watched.source.last is watched.reports[0]


def test_a_change_is_in_force_within_two_seconds(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    directory = write(tmp_path / "b")
    watched = watch(directory)
    watched.wait(lambda: watched.revision == "small-1")
    write(directory, bundle=revision("small-2"))
    assert watched.wait(lambda: watched.revision == "small-2") < 2


def test_without_the_kernels_help_the_poll_finds_the_change(
    tmp_path: Path, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems report nothing, and watches may run out (fs.inotify.max_user_watches)."""

    def no_watch_left(*_: Any, **__: Any) -> Iterator[Any]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("extauthz.sources.bundles.watched.watch", no_watch_left)
    directory = write(tmp_path / "b")
    watched = watch(directory, poll_seconds=0.2)
    watched.wait(lambda: watched.revision == "small-1")
    write(directory, bundle=revision("small-2"))
    assert watched.wait(lambda: watched.revision == "small-2") < 2


def test_a_missing_directory_is_waited_for(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    watched = watch(tmp_path / "later" / "b", poll_seconds=0.1)
    watched.wait(lambda: watched.results == ["rejected"])
    assert watched.live.current is None
    assert [str(finding) for finding in watched.reports[0].findings] == [
        f"{tmp_path}/later/b: the directory does not exist"
    ]
    time.sleep(0.5)
    assert watched.results == ["rejected"], "told once, not at every look"
    write(tmp_path / "later" / "b")
    watched.wait(lambda: watched.revision == "small-1")


def test_an_invalid_bundle_at_start_leaves_nothing_in_force_until_it_is_mended(
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    directory = write(tmp_path / "b", policy=POLICY.replace("allow", "alow"))
    watched = watch(directory)
    watched.wait(lambda: watched.results == ["rejected"])
    assert watched.live.current is None
    write(directory)
    watched.wait(lambda: watched.revision == "small-1")


def test_a_bad_bundle_keeps_the_live_one_and_is_told_once(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    directory = write(tmp_path / "b")
    watched = watch(directory, poll_seconds=0.1)
    watched.wait(lambda: watched.revision == "small-1")
    write(directory, bundle=revision("small-2"), policy=POLICY.replace("GET", "get"))
    watched.wait(lambda: watched.results == ["activated", "rejected"])
    time.sleep(0.5)
    os.utime(directory / "policy.yaml")
    time.sleep(0.5)
    assert watched.results == ["activated", "rejected"]
    rejected = watched.reports[-1]
    assert (rejected.revision, watched.revision) == ("small-1", "small-1")
    assert str(rejected.findings[0]).startswith("policy.yaml:12: spec.rules[0].to[0].methods[0]: ")
    write(directory, bundle=revision("small-2"))
    watched.wait(lambda: watched.revision == "small-2")


def test_going_back_to_what_is_in_force_is_told_as_unchanged(tmp_path: Path) -> None:
    watched = Watched(write(tmp_path / "b"))
    watched.source.refresh()
    in_force = watched.live.current
    write(tmp_path / "b", policy="a: [")
    watched.source.refresh()
    write(tmp_path / "b")
    watched.source.refresh()
    assert watched.source.refresh() is None
    assert watched.results == ["activated", "rejected", "unchanged"]
    assert watched.live.current is in_force, "its token cache stays warm"


def test_a_bundle_whose_own_tests_fail_is_rejected(tmp_path: Path) -> None:
    directory = write(tmp_path / "b", tests__staff=TEST.replace("limit: 10", "limit: 9"))
    watched = Watched(directory)
    watched.source.refresh()
    assert watched.live.current is None
    assert [str(finding) for finding in watched.reports[0].findings] == [
        (
            "tests/staff.yaml:6: case `an officer reads` of `staff` fails: outcome: expected `allow`, got `deny`, "
            "policy: expected `staff`, got none, rule: expected `read`, got none"
        )
    ]
    untested = Watched(directory, run_tests=False)
    untested.source.refresh()
    assert untested.revision == "small-1"


def test_kubernetes_swaps_a_config_map(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    """The kubelet writes a new state beside the old one, moves the link `..data`, and removes the old state."""
    mount = tmp_path / "mount"
    write(mount / "..1")
    (mount / "..data").symlink_to("..1")
    for name in FILES:
        top = name.split("/")[0]
        if not (mount / top).is_symlink():
            (mount / top).symlink_to(f"..data/{top}")
    watched = watch(mount)
    watched.wait(lambda: watched.revision == "small-1")
    for number in (2, 3):
        write(mount / f"..{number}", bundle=revision(f"small-{number}"))
        (mount / "..data_tmp").symlink_to(f"..{number}")
        (mount / "..data_tmp").replace(mount / "..data")
        shutil.rmtree(mount / f"..{number - 1}")
        expected = f"small-{number}"
        assert watched.wait(lambda expected=expected: watched.revision == expected) < 2  # type: ignore[misc]
    assert set(watched.results) == {"activated"}


def test_git_sync_swaps_the_link_to_the_directory(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    write(tmp_path / ".worktrees" / "a")
    (tmp_path / "current").symlink_to(".worktrees/a")
    watched = watch(tmp_path / "current", poll_seconds=60)
    watched.wait(lambda: watched.revision == "small-1")
    time.sleep(0.3)
    write(tmp_path / ".worktrees" / "b", bundle=revision("small-2"))
    (tmp_path / "next").symlink_to(".worktrees/b")
    (tmp_path / "next").replace(tmp_path / "current")
    assert watched.wait(lambda: watched.revision == "small-2") < 2, "without waiting for the poll"


def test_a_directory_that_is_being_written_is_read_when_it_rests(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    """An editor or `cp` leaves half of a file for a moment; that moment is not reported as an error."""
    directory = write(tmp_path / "b")
    watched = watch(directory)
    watched.wait(lambda: watched.revision == "small-1")
    text = POLICY.replace("limit >= 10", "limit >= 9")
    with (directory / "policy.yaml").open("w") as file:
        for start in range(0, len(text), 40):
            file.write(text[start : start + 40])
            file.flush()
            time.sleep(0.03)
    watched.wait(lambda: len(watched.reports) == 2)
    assert watched.results == ["activated", "activated"]


def test_a_removed_directory_keeps_the_last_good_bundle(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    directory = write(tmp_path / "b")
    watched = watch(directory)
    watched.wait(lambda: watched.revision == "small-1")
    shutil.rmtree(directory)
    watched.wait(lambda: watched.results[-1] == "rejected")
    assert watched.revision == "small-1"
    write(directory, bundle=revision("small-2"))
    watched.wait(lambda: watched.revision == "small-2")


@pytest.mark.usefixtures("resting")
def test_forty_reloads_each_come_into_force_and_leave_nothing_behind(tmp_path: Path) -> None:
    """Readers see whole revisions only; every replaced snapshot is freed although the collector never sees it."""
    directory = write(tmp_path / "b")
    watched = Watched(directory, poll_seconds=0.1)
    watched.source.refresh()
    seen: set[tuple[str, bool]] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.002):
            world = watched.live.current
            if world is not None:
                seen.add(
                    (world.revision, [rule for p in world.policies.policies for rule in p.rules] == [world.revision])
                )

    reader = threading.Thread(target=read)
    reader.start()
    replaced = []
    frozen = []
    for number in range(40):
        name = f"r{number}"
        write(directory, bundle=revision(name), policy=POLICY.replace("name: read", f"name: {name}"), tests__staff="")
        report = watched.source.refresh()
        assert report is not None
        assert (report.result, watched.revision) == ("activated", name)
        assert watched.live.current is not None
        replaced.append(weakref.ref(watched.live.current.policies))
        frozen.append(gc.get_freeze_count())
    stop.set()
    reader.join()
    assert {good for name, good in seen if name.startswith("r")} == {True}
    assert [ref() is None for ref in replaced] == [True] * 39 + [False]
    assert frozen[-1] - frozen[9] < 660, "what each reload leaves in memory does not add up"


def test_a_listener_that_fails_does_not_end_the_watch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = Live()

    def full_disk(_: Activation) -> None:
        raise OSError(28, "No space left on device")

    source = BundleSource(BundleOptions(directory=str(write(tmp_path / "b"))), live, full_disk)
    source.start()
    try:
        for name in ("small-1", "small-2"):
            write(tmp_path / "b", bundle=revision(name))
            deadline = time.monotonic() + 10
            while live.status().revision != name:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        source.stop()
    assert "its source stays watched" in caplog.text


def test_a_bug_met_in_one_bundle_does_not_end_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(write(tmp_path / "b"))
    with monkeypatch.context() as patch:
        patch.setattr("extauthz.sources.bundles.steps.read_bundle", lambda *_: 1 // 0)
        watched.source.refresh()
    assert [str(finding) for finding in watched.reports[0].findings] == [
        f"{tmp_path}/b: internal error ZeroDivisionError: please report it"
    ]
    write(tmp_path / "b", bundle=revision("small-2"))
    watched.source.refresh()
    assert watched.revision == "small-2"


def test_stop_is_prompt(tmp_path: Path) -> None:
    watched = Watched(write(tmp_path / "b"), poll_seconds=60)
    watched.source.start()
    watched.wait(lambda: watched.revision == "small-1")
    began = time.monotonic()
    watched.source.stop()
    assert time.monotonic() - began < 2


def test_a_small_file_of_changes_updates_data_and_shares_the_rest(
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    """What policies were compiled to, and data that nobody named, are the same objects as before; the old data is gone."""
    directory = write(tmp_path / "b", policy=POLICY.replace("limit >= 10", "subject.id in data.owners.all"))
    (directory / "data" / "owners.json").write_text('{"all": ["alice"], "rest": ["marker-a"]}')
    (directory / "tests" / "staff.yaml").unlink()
    watched = watch(directory)
    watched.wait(lambda: watched.revision == "small-1")
    first = watched.live.latest
    assert first is not None
    rules, rest = first.policies._rules, first.policies._facts.files["owners"]["rest"]  # type: ignore[index]
    gone = weakref.ref(first.policies)
    del first
    for number in range(4):
        digest = watched.live.status().digest
        (directory / "data" / "owners.patch.json").write_text(f'{{"all": ["bob-{number}"]}}')
        watched.wait(lambda digest=digest: watched.live.status().digest != digest)
    latest = watched.live.latest
    assert latest is not None
    assert {"all": ["bob-3"], "rest": ["marker-a"]} == latest.policies._facts.files["owners"]
    assert latest.policies._rules is rules
    assert latest.policies._facts.files["owners"]["rest"] is rest  # type: ignore[index]
    watched.wait(lambda: gone() is None)


def test_too_much_data_is_rejected_and_the_rest_stays(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    directory = write(tmp_path / "b")
    watched = watch(directory, max_data_bytes=4096)
    watched.wait(lambda: watched.revision == "small-1")
    (directory / "data" / "owners.json").write_text('{"all": ["' + "x" * 5000 + '"]}')
    watched.wait(lambda: watched.results == ["activated", "rejected"])
    assert watched.reports[-1].step == "parse"
    assert str(watched.reports[-1].findings[0]).startswith("data/owners.json: the data files have 5")
    assert "`bundle.maxDataBytes` allows 4096" in str(watched.reports[-1].findings[0])
    assert watched.revision == "small-1"
