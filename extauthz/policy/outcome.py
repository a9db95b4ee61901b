"""The four ways in which a part of a rule can end; plain integers, for they are compared for every part."""

from typing import Final, Literal

Outcome = Literal[0, 1, 2, 3]

NO: Final = 0  # does not match
YES: Final = 1  # matches
ERROR: Final = 2  # cannot be told: an allow rule does not match, a deny rule denies
SCOPES: Final = 3  # would match, were it not for a scope that the token lacks
