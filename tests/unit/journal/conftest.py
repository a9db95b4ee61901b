"""A journal in a directory of its own, opened as often as a test restarts it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extauthz.journal import Journal, JournalIdentity, JournalOptions


class Journals:
    """Opens journals in one directory; a test may open, close and open again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.boots = 0
        self.opened: list[Journal] = []

    def open(self, clock: Callable[[], float] | None = None, **options: object) -> Journal:
        self.boots += 1
        identity = JournalIdentity(
            instance="pod-0", boot=f"boot-{self.boots}", version="0.1.0", config_digest="c0" * 32
        )
        settings = JournalOptions(directory=str(self.directory), **options)
        journal = Journal(settings, identity, clock) if clock else Journal(settings, identity)
        self.opened.append(journal)
        return journal

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("segment-*.ndjson"))

    def lines(self) -> list[bytes]:
        return [line for segment in self.segments() for line in segment.read_bytes().splitlines()]


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    made = Journals(tmp_path / "journal")
    yield made
    for journal in made.opened:
        journal.close()
