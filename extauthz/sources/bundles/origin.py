"""What every place that bundles come from has in common."""

from typing import Protocol

from msgspec import Struct

from extauthz.bundle import Package


class UnreachableError(Exception):
    """The source cannot be asked, or gives no answer that could be a bundle; printable, without any content."""

    def __init__(self, message: str, after: float | None = None) -> None:
        """`after`: seconds that the source wants to be left alone."""
        self.after = after
        super().__init__("".join(char if char.isprintable() else "?" for char in message))


class Brought(Struct, frozen=True):
    """A bundle as a source holds it now: a directory's package, or the bytes of an archive."""

    where: str  # for messages and metadata
    package: Package | None = None
    archive: bytes | None = None
    tag: str = ""  # what the source calls this state, to ask later whether it is still the same
    is_delta: bool = False  # files are left out of the archive that were in the bundle before (see `bundle.delta`)


class Origin(Protocol):
    """A place that bundles come from. One thread asks; `stop` may be called from another."""

    where: str

    def check(self) -> None:
        """Look whether the files that the settings name can be used. Raises UnreachableError."""

    def fetch(self, patience: float) -> Brought | None:
        """What is there now; None when it is what was brought last, or what `knows` was told.

        May wait for something new for up to `patience` seconds. Raises UnreachableError, or BundleError for something
        there that can be no bundle.
        """

    def knows(self, tag: str) -> None:
        """This state is here already, from the disk."""

    def forget(self) -> None:
        """Bring it again the next time, changed or not."""

    def wait(self, seconds: float) -> None:
        """Return when it is time to look again: after what the source finds right, at most `seconds`."""

    def stop(self) -> None:
        """Let the thread that asks go, at once."""
