"""A snapshot that is asked about the past: what it asks of requests and of the world, the record on stage answers.

Rule: an outcome stays as it was recorded only while the digest of whatever led to it is the same in this bundle.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, cast

from msgspec import json
from msgspec.structs import replace

from extauthz.bundle.replay.asked_again import subject_of
from extauthz.bundle.replay.past import PastRequest
from extauthz.guards import FINANCIAL_ID_FORM_NAME, VERSIONS, FapiHeaders, HeaderRule, Refusal, Tenant
from extauthz.identity import NOTHING_SIGNED, KeySet, PossessionRules, SigningRules
from extauthz.model.kept import HEADERS, KeptProfile, header_name
from extauthz.model.reasons import Reason
from extauthz.model.request import Headers, Request
from extauthz.model.subject import Subject
from extauthz.policy.recorded import Desk, NotKeptError, over_records
from extauthz.precedents import Precedents, Route
from extauthz.snapshot import AmbiguousProfile, Covered, Profile, ProfileIndex, Snapshot

PROOFS: Final = "the proof of possession or the signature again: what the profile asks for differs"
_CREDENTIAL: Final = "the credential: nobody had looked at it"
_AGAIN: Final = "the credential again"
_REFUSED: Final = f"{_AGAIN}: it was refused, and who may call differs"
_ISSUERS: Final = f"{_AGAIN}: whose tokens count differs"
_AUTHORIZATION: Final = "authorization"
_VERSION: Final = b"recorded "
_DIGEST: Final = 32  # bytes behind it in a key of the token cache


class AsRecordedError(Exception):
    """What came then comes again: it ended the decision."""


class Stage(Desk):
    """The record that is being decided again, and how far the decision has come."""

    past: PastRequest

    def __init__(self, terms: Mapping[str, KeptProfile], issuers: Mapping[str, str]) -> None:
        """`terms` by profile and `issuers` by name are this bundle's."""
        super().__init__()
        self._terms, self._issuers = terms, issuers
        self.headers = cast("Headers", _Headers(self))
        self.profile: Profile | None = None

    def lay(self, past: PastRequest) -> None:
        """Turn to this record."""
        self.past, self.profile = past, None

    def has_same_proofs(self) -> bool:
        """Whether senders must prove what they had to prove then."""
        return self._own.proofs == self.past.kept.profile.proofs

    @property
    def _own(self) -> KeptProfile:
        return self._terms[self.profile.name] if self.profile is not None else KeptProfile()

    # --- what the record answers

    def authorization(self) -> str | None:
        """A header that leads to the caller who was identified then."""
        past = self.past
        if past.identity == "nobody":
            return None
        if past.identity == "unseen":
            raise NotKeptError(_CREDENTIAL)
        if past.identity == "refused":
            if self._own.identity == past.kept.profile.identity:
                raise AsRecordedError
            raise NotKeptError(_REFUSED)
        return self._token(past)

    def _token(self, past: PastRequest) -> str:
        decided, caller = past.decided, past.kept.caller
        authentication = self.profile.authentication if self.profile is not None else None
        issuer = authentication.by_iss.get(decided.issuer) if authentication is not None else None
        if issuer is None:
            if decided.key_id and authentication is not None and authentication.introspecting is None:
                return f"Bearer {_unknown_token(decided.issuer)}"
            raise NotKeptError(_ISSUERS)
        if issuer.name != caller.name or self._issuers.get(issuer.name) != caller.issuer:
            needs = f"{_AGAIN}: Issuer `{issuer.name}` differs"
            raise NotKeptError(needs)
        return "DPoP recorded" if "jkt" in caller.bound else "Bearer recorded"

    def subject(self, version: bytes) -> Subject | None:
        """The caller, if these keys vouched for it."""
        past = self.past
        caller = past.kept.caller
        if version != _VERSION + caller.name.encode() or self._issuers.get(caller.name) != caller.issuer:
            return None
        return subject_of(past, proven=past.proven and self.has_same_proofs())

    def prove(self) -> NoReturn:
        """What the sender had to prove is looked at."""
        if self.past.refused_by_proof and self.has_same_proofs():
            raise AsRecordedError
        raise NotKeptError(PROOFS)

    def verify(self) -> None:
        """The signatures of the request are looked at."""
        if not (self.past.signed and self.has_same_proofs()):
            self.prove()


def with_records(snapshot: Snapshot, stage: Stage) -> Snapshot:
    """The same bundle, asking the stage."""
    issuers = {
        issuer.name: issuer for profile in snapshot.profiles.profiles for issuer in profile.authentication.issuers
    }
    keys = {
        name: KeySet(cast("Any", (name,)), {}, issuer.digest, _VERSION + name.encode())
        for name, issuer in issuers.items()
    }
    profiles = cast("ProfileIndex", _Profiles(snapshot.profiles, stage))
    policies = over_records(snapshot.policies, stage)
    of = (profiles, policies, snapshot.revision, snapshot.digest)
    return replace(
        snapshot,
        profiles=profiles,
        policies=policies,
        keys=keys,
        tokens=_Tokens(stage),
        precedents=cast("Precedents[Covered]", _NoPrecedents(of)),
    )


class _NoPrecedents:
    """Every record is looked at anew, for what two of them have not kept may differ."""

    def __init__(self, of: tuple[Any, ...]) -> None:
        self.of, self._find = of, of[0].find

    def route(self, request: Request) -> Route[Covered]:
        return Route(self._find(request), is_kept=False)


class _Headers:
    """The request's, as far as they were kept."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def get(self, name: str) -> str | None:
        return self._stage.authorization() if name == _AUTHORIZATION else self._stage.past.header(name)

    def is_repeated(self, _: str) -> bool:
        return False  # one that was sent twice is not kept

    def among(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._stage.past.is_sent(name)]

    def items(self) -> NoReturn:
        raise NotKeptError(HEADERS)


class _Tokens:
    """As model.ports.TokenCache: whoever was identified then is known."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def get(self, key: bytes) -> Subject | None:
        return self._stage.subject(key[:-_DIGEST])

    def put(self, key: bytes, subject: Subject) -> None:
        """Nothing is kept."""


class _Profiles:
    """Finds profiles as the index does, and tells the stage which it was."""

    def __init__(self, index: ProfileIndex, stage: Stage) -> None:
        self._index, self._stage = index, stage
        self._asking = {profile.name: _asking(profile, stage) for profile in index.profiles}

    def find(self, request: Request) -> Profile | AmbiguousProfile | None:
        found = self._index.find(request)
        if not isinstance(found, Profile):
            return found
        self._stage.profile = found
        return self._asking[found.name]


def _asking(profile: Profile, stage: Stage) -> Profile:
    signing = profile.signing
    return replace(
        profile,
        # Whoever read the token: the caller is found among those who were known.
        authentication=replace(profile.authentication, introspecting=None),
        fapi=None if profile.fapi is None else cast("FapiHeaders", _Fapi(profile.fapi, stage)),
        possession=cast("PossessionRules", _Possession(stage)),
        signing=signing if signing is NOTHING_SIGNED else cast("SigningRules", _Signing(stage)),
    )


class _Possession:
    """Rules that are looked at when something is left to prove."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def mtls(self) -> NoReturn:
        self._stage.prove()

    dpop = mtls


class _Signing:
    """Rules that ask for nothing where it was verified."""

    body = None

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def message(self) -> None:
        self._stage.verify()


class _Fapi:
    """The rules of a profile over headers of which the journal keeps little; as guards.FapiHeaders."""

    def __init__(self, rules: FapiHeaders, stage: Stage) -> None:
        self._rules, self._stage = rules, stage
        self.ecosystem = rules.ecosystem

    def check_headers(self, request: Request, now: int) -> Refusal | None:
        rules = self._rules
        for rule in rules.rules:
            if refusal := self._refuse(rule, request, now):
                return refusal
        if rules.financial_id is not None and (refusal := self._check_form(request)):
            return refusal
        if not rules.versions:
            return None
        for name in VERSIONS:
            if self._is_unknown(name):
                raise NotKeptError(header_name(name))
        return rules.refuse_version(request)

    def check_financial_id(self, request: Request, tenant: Tenant | None) -> Refusal | None:
        if self._rules.financial_id is None:
            return None
        return self._check_form(request) or self._rules.check_owner(request, tenant)

    def _refuse(self, rule: HeaderRule, request: Request, now: int) -> Refusal | None:
        past = self._stage.past
        if not past.is_sent(rule.name):
            needs = rule.required and rule.covers(request) and (not rule.with_header or past.is_sent(rule.with_header))
            return Refusal(Reason.FAPI_HEADER_MISSING, rule.check, "missing", rule.name) if needs else None
        if rule.ignore_invalid:
            return None
        good = self._was_good(rule.name, rule.form)
        if good is None and self._is_unknown(rule.name):
            if not rule.values:
                raise NotKeptError(header_name(rule.name))
            good = False  # it is none of them, whatever it is
        if good is None:
            return rule.refuse(request, now)
        return None if good else Refusal(Reason.FAPI_HEADER_INVALID, rule.check, "malformed then", rule.name)

    def _check_form(self, request: Request) -> Refusal | None:
        name = self._rules.financial_id_header
        if self._stage.past.is_sent(name) and self._is_unknown(name):
            good = self._was_good(name, FINANCIAL_ID_FORM_NAME)
            if good is None:
                raise NotKeptError(header_name(name))
            return None if good else Refusal(Reason.FAPI_HEADER_INVALID, name, "malformed then", name)
        return self._rules.check_form(request)

    def _was_good(self, name: str, form: str) -> bool | None:
        """What was found of a header when the same was asked of it; None when nobody had looked."""
        past = self._stage.past
        asked, _, rest = past.kept.profile.formats.get(name, "").partition(" ")
        wanted, _, more = form.partition(" ")
        if name in past.passed_headers and asked == wanted and rest.isdigit() and more.isdigit():
            return True if int(rest) <= int(more) else None
        if (asked, rest) != (wanted, more):
            return None
        if name in past.passed_headers:
            return True
        return False if name == past.refused_header else None

    def _is_unknown(self, name: str) -> bool:
        """Whether a header was sent, but not kept, or as a pseudonym of nothing that is known."""
        past = self._stage.past
        return past.is_sent(name) and not past.is_known(name)


def _unknown_token(issuer: str) -> str:
    """A token of an issuer that the profile does not accept, so that nothing else of it is looked at."""
    header, payload = json.encode({"alg": "PS256", "typ": "at+jwt"}), json.encode({"iss": issuer})
    parts = (header, payload, b"recorded")
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
