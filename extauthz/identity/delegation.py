"""Who acts for the subject: the `act` claim (RFC 8693 section 4.1).

Rule 1: the outermost actor is the one who calls; those within it acted before and are history.
"""

from extauthz.identity.claim_paths import MISSING, look_up
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason

MAX_ACTORS = 8  # services that a call came through, one token exchange each


def read_actors(claims: dict[str, object], issuer: str) -> tuple[str, ...] | Deny:
    """The actors, the current one first: `sub`, or `client_id` where there is none.

    An actor of another issuer is `<iss>/<sub>`, because a `sub` is unique within its issuer only (JWT-21).
    """
    if "act" not in claims:
        return ()
    actors: list[str] = []
    actor = claims["act"]
    while actor is not MISSING:
        if not isinstance(actor, dict) or len(actors) == MAX_ACTORS:
            return _refuse()
        name = _name(actor, issuer)
        if name is None:
            return _refuse()
        actors.append(name)
        actor = actor.get("act", MISSING)
    return tuple(actors)


def _name(actor: dict[str, object], issuer: str) -> str | None:
    name = look_up(actor, ("sub",) if "sub" in actor else ("client_id",))
    home = actor.get("iss", issuer)
    if not _is_name(name) or not _is_name(home):
        return None
    return str(name) if home == issuer else f"{home}/{name}"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _refuse() -> Deny:
    return Deny(Reason.TOKEN_CLAIM_INVALID, "JWT-21", f"actors that are not a chain of 1 to {MAX_ACTORS} named ones")
