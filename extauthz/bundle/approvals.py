"""Approvals of break glass: what is approved, by whom, and whether the signatures are theirs.

Rule 1: two people by two keys; whoever opens it, with whatever rights on the machine, counts for none of them.
Rule 2: a signature is for exactly one request: every member of it is signed.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from extauthz.bundle.approver_keys import read_approver_key
from extauthz.bundle.trust import BadKeyError, PrivateKey, PublicKey, is_signed, key_id, sign_bytes
from extauthz.guards import BreakGlassSpec, Glass
from extauthz.model.problems import Location, Problem, suggestion

NEEDED: Final = 2
MAX_NAME: Final = 63
_DOMAIN: Final = b"extauthz break glass approval 1\n"  # so that a signature means nothing anywhere else

Moment = Annotated[datetime, Meta(tz=True)]
Approvers = Mapping[str, PublicKey]  # by name


class ApproverSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Somebody who may approve break glass."""

    name: str  # stands in the journal: a role or an account, not a person's name
    key: str  # public key, Ed25519 or ECDSA P-256: PEM, or what is between its lines


class ApprovalSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One approval, as `extauthz ctl break-glass approve` makes it."""

    approver: str  # name in the list of approvers
    signature: str  # base64


class GlassRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is approved, whole: of a document its name and everything in `spec` but the approvals."""

    id: str
    break_glass: BreakGlassSpec
    begin: Moment
    end: Moment
    ticket: str
    justification: str
    drill: bool = False

    @property
    def first_second(self) -> int:
        """`begin`, never earlier than said."""
        return -int(-self.begin.timestamp() // 1)

    @property
    def last_second(self) -> int:
        """`end`, never later than said."""
        return int(self.end.timestamp() // 1)

    @property
    def digest(self) -> str:
        """SHA-256 over every member, hex; however its times and its texts were written down."""
        plain = {
            "id": self.id,
            "breakGlass": msgspec.to_builtins(self.break_glass),
            "begin": self.first_second,
            "end": self.last_second,
            "ticket": self.ticket,
            "justification": self.justification,
            "drill": self.drill,
        }
        return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def compile_approvers(specs: Iterable[ApproverSpec], problems: list[Problem], at: Location) -> dict[str, PublicKey]:
    """The approvers by name; what is wrong is noted and left out. Two names with one key would be one person twice."""
    found: dict[str, PublicKey] = {}
    owners: dict[str, str] = {}
    for index, spec in enumerate(specs):
        if not 0 < len(spec.name) <= MAX_NAME or not spec.name.isprintable():
            problems.append(Problem((*at, index, "name"), f"must be 1 to {MAX_NAME} printable characters"))
            continue
        try:
            key = read_approver_key(spec.key)
        except BadKeyError as error:
            problems.append(Problem((*at, index, "key"), str(error)))
            continue
        if spec.name in found:
            problems.append(
                Problem((*at, index, "name"), f"two approvers are called `{spec.name}`", code="duplicate-name")
            )
        elif (owner := owners.setdefault(key_id(key), spec.name)) != spec.name:
            problems.append(Problem((*at, index, "key"), f"this is the key of `{owner}`: each approver has an own one"))
        else:
            found[spec.name] = key
    return found


def approve(request: GlassRequest, approver: str, key: PrivateKey) -> ApprovalSpec:
    """Sign."""
    signature = sign_bytes(key, _statement(request, approver))
    return ApprovalSpec(approver=approver, signature=base64.b64encode(signature).decode())


def approved(
    glass: Glass, request: GlassRequest, approvals: Iterable[ApprovalSpec], approvers: Approvers
) -> tuple[Glass, list[Problem]]:
    """The glass with those who approved it, and what is wrong, with places in the list of approvals."""
    names: list[str] = []
    problems: list[Problem] = []
    for index, approval in enumerate(approvals):
        key = approvers.get(approval.approver)
        if key is None:
            hint = suggestion(approval.approver, list(approvers))
            problems.append(
                Problem((index, "approver"), f"unknown approver `{approval.approver}`{hint}", code="unknown-name")
            )
        elif not _is_signed(request, approval, key):
            message = (
                f"the signature of `{approval.approver}` is not for this: whatever was changed must be approved anew "
                f"(digest {request.digest})"
            )
            problems.append(Problem((index, "signature"), message, code="not-approved"))
        elif approval.approver in names:
            problems.append(
                Problem((index, "approver"), f"`{approval.approver}` approves it twice", code="not-approved")
            )
        else:
            names.append(approval.approver)
    if not problems and len(names) < NEEDED:
        message = f"break glass needs the approvals of {NEEDED} approvers, found {len(names)} (digest {request.digest})"
        problems.append(Problem((), message, code="not-approved"))
    keys = tuple(key_id(approvers[name]) for name in names)
    return replace(glass, approvers=tuple(names), approver_keys=keys), problems


def _is_signed(request: GlassRequest, approval: ApprovalSpec, key: PublicKey) -> bool:
    try:
        signature = base64.b64decode(approval.signature, validate=True)
    except ValueError:
        return False
    return is_signed(key, _statement(request, approval.approver), signature)


def _statement(request: GlassRequest, approver: str) -> bytes:
    return _DOMAIN + f"{request.digest}\n{approver}\n".encode("utf-8", "surrogatepass")
