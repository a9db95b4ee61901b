"""Large parts of bundles, held until nobody else holds them, then freed a little at a time.

The last to let go of 10,000 policies would stand still for 12 ms with the interpreter's lock, and with it every Check;
it may be a Check itself. So what comes into force is held here, too, and this is always the last.

Rule 1: nothing is changed that anybody else can reach: `sys.getrefcount` counts each holder, local variables too.
Rule 2: what belongs to a bundle is told before it comes into force, by whoever made it.
"""

from collections.abc import Iterable, Iterator
from sys import getrefcount
from threading import Event, Lock, Thread
from typing import Any, Final

from extauthz.bundle import Built
from extauthz.model.letting_go import Large, let_go

_LOOK_SECONDS: Final = 0.2
_LARGE: Final = 256  # members; less is freed by whoever lets go last
_DEEP: Final = 3  # levels at which data has its large parts: the file, what is in it, and once more
_ALONE: Final = 3  # references: the list of what is held, the variable that looks, and the argument of `getrefcount`


class Retired:
    """Frees what is no longer in use, in a thread of its own."""

    def __init__(self) -> None:
        """Nothing is held, and nobody looks before `start`."""
        self._held: list[object] = []
        self._known: set[int] = set()  # their identities
        self._adding = Lock()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="retired-bundles", daemon=True)

    def hold(self, parts: Iterable[object], least: int = _LARGE) -> None:
        """Free these here, and not with their other holders. What has fewer than `least` members is left to those."""
        if not self._thread.is_alive():
            self.look()  # nobody else does
        with self._adding:
            for part in parts:
                if id(part) not in self._known and _is_large(part, least):
                    self._known.add(id(part))
                    self._held.append(part)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the rest to whoever holds it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Free what nobody else holds any more."""
        while (part := self._take()) is not None:
            held = [part]
            del part
            _free(held)

    def _take(self) -> object | None:
        with self._adding:
            for place in range(len(self._held)):  # `enumerate` would hold each, too
                part = self._held[place]
                if getrefcount(part) <= _ALONE:
                    del self._held[place]
                    self._known.remove(id(part))
                    return part
        return None

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            self.look()


def parts_of(built: Built) -> Iterator[object]:
    """What of a bundle is likely to be large."""
    snapshot = built.snapshot
    yield from snapshot.parts()
    yield built.tests
    yield built.warnings
    yield from _of_data(built.data, _DEEP)


def _of_data(value: Any, levels: int) -> Iterator[object]:  # noqa: ANN401 - what JSON can hold
    """The large objects and lists in it; what is within a large one goes with that one."""
    yield value
    if levels and len(value) < _LARGE:
        for member in value.values() if isinstance(value, dict) else value:
            if isinstance(member, dict | list):
                yield from _of_data(member, levels - 1)


def _is_large(part: object, least: int) -> bool:
    return isinstance(part, Large) or (isinstance(part, dict | list | tuple) and len(part) >= least)


def _free(last: list[Any]) -> None:
    """Free the one member of the list, which nobody else holds."""
    part = last[0]
    if isinstance(part, dict | list):
        last.clear()
        let_go(part)
        return
    parts = list(part) if isinstance(part, tuple) else [*part.parts()]
    last.clear()
    del part
    parts.reverse()  # what is above goes first; then what is below goes one by one and takes nothing along
    for place in range(len(parts)):
        each = parts[place]
        if isinstance(each, dict) and len(each) >= _LARGE and getrefcount(each) <= _ALONE:
            let_go(each)
        del each  # or it would hold the uppermost, and that all the others, until the end
    let_go(parts)
