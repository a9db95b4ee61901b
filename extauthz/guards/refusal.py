"""How a guard says no."""

from msgspec import Struct

from extauthz.model.reasons import Reason


class Refusal(Struct, frozen=True, gc=False):
    """Why a guard refused. No member ever holds a value that the client sent."""

    reason: Reason
    check: str = ""  # id of the failed check, e.g. "JWT-20"; for a header without an id the header's name
    detail: str = ""  # for journal and explain only
    header: str = ""  # name of the header at fault
    parameters: tuple[tuple[str, str], ...] = ()  # more parameters of the challenge; they come from the bundle
    emergency: str = ""  # id of the freeze that denies
