"""What is large is freed, and put in order, a few members at a time, so that other threads get their turn between.

To free 10,000 objects takes some milliseconds in which no other thread of Python runs, whether a list of them goes at
the end of a function or a whole set of policies with its last reader.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

_AT_ONCE: Final = 64  # members; some 50 us when they are as large as a compiled rule
_SORTED_AT_ONCE: Final = 512

T = TypeVar("T")


@runtime_checkable
class Large(Protocol):
    """Something with more members than should be freed in one go."""

    def parts(self) -> Iterable[object]:
        """Its members; what is held by another of them comes behind that one. Asked when nobody else reads it."""
        ...


def let_go(*containers: list[Any] | dict[Any, Any]) -> None:
    """Empty containers of which nobody reads any more."""
    for container in containers:
        if isinstance(container, dict):
            while container:
                container.popitem()
        else:
            while container:
                del container[-_AT_ONCE:]


def in_order_of(items: Iterable[T], key: Callable[[T], Any]) -> Iterator[T]:
    """As `sorted`, which takes 10 ms in one go over 10,000 texts."""
    given, slices = iter(items), []
    while found := sorted(islice(given, _SORTED_AT_ONCE), key=key):
        slices.append(found)
    return merge(*slices, key=key)
