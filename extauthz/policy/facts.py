"""What the conditions of a bundle read of its data files, found once for each state of the data.

Rule 1: compiled expressions hold no data. They name places by number, and the facts that come with a question have what
is there: other data needs other facts and nothing compiled anew.
Rule 2: whoever compiled numbered the places, so facts are for the expressions of their `owner` alone.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Facts(Struct, frozen=True):
    """The data of one revision."""

    owner: object = None  # what numbered the places; None: of nobody
    files: Mapping[str, object] = {}  # by file name
    values: tuple[Any, ...] = ()  # by number of the place


NO_FACTS = Facts()
