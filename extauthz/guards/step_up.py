"""Step-up: how, and how long ago, the user must have authenticated (RFC 9470, and Entra ID's authentication contexts).

Rule 1: what a token does not say is not met (ST-01, ST-02).
Rule 2: every rule that covers the request must be met; the challenge tells what the first unmet one asks for.
"""

import json
import re
from base64 import b64encode
from typing import Final

from msgspec import Struct

from extauthz.guards.names import require_methods
from extauthz.guards.refusal import Refusal
from extauthz.model.durations import parse_duration
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.problems import Location, Problem
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.model.subject import Subject

MAX_AHEAD: Final = 60  # seconds that an issuer's clock may be ahead of ours; as much as any token's leeway
_MAX_VALUES: Final = 16  # of acr in one challenge
# A challenge lists them between spaces in a quoted-string (RFC 9470 section 3), so they hold no space and no quote.
_URI: Final = re.compile(r"https://[\x21\x23-\x5b\x5d-\x7e]{1,256}")
AUTHORIZATION_URI: Final = "https://login.microsoftonline.com/common/oauth2/authorize"
_ACR: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")


class StepUpRuleSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What the user's authentication must have been, for some methods and paths or for all."""

    acr: tuple[str, ...] = ()  # one of these, in order of preference; empty: any
    max_age: int | str | None = None  # since the user authenticated, e.g. `300s`; absent: any
    # One of these authentication contexts of Entra ID; alone in its rule, for they have a challenge of their own.
    acrs: tuple[str, ...] = ()
    # Where clients send the user for such a context; as in Entra's own examples when absent.
    authorization_uri: str = ""
    methods: tuple[str, ...] = ()  # only with these methods; empty: with all
    paths: tuple[str, ...] = ()  # only on these path patterns; empty: on all


StepUpSpec = StepUpRuleSpec | tuple[StepUpRuleSpec, ...]


class StepUpRule(Struct, frozen=True):
    """A compiled rule."""

    acr: tuple[str, ...]
    acrs: frozenset[str]
    max_age: int | None  # seconds
    methods: tuple[str, ...]
    paths: tuple[PathPattern, ...]
    parameters: tuple[tuple[str, str], ...]  # of the challenge

    def covers(self, request: Request) -> bool:
        """Whether the rule speaks about this request."""
        if self.methods and request.method not in self.methods:
            return False
        return not self.paths or any(path.match(request.segments) is not None for path in self.paths)

    def refuse(self, subject: Subject, now: int) -> Refusal | None:
        """What is missing in how `subject` authenticated."""
        if self.acr and subject.acr not in self.acr:  # ST-01; a token without `acr` has "", which no rule names
            return self._refusal("ST-01", "no acr that is accepted here")
        if self.acrs and self.acrs.isdisjoint(subject.acrs):
            detail = "no authentication context that is accepted here"
            return Refusal(Reason.AUTHENTICATION_CONTEXT_REQUIRED, "ST-01", detail, parameters=self.parameters)
        # ST-02; 0 stands for an unknown time. A time in the future tells nothing about the age.
        if self.max_age is not None and not (subject.auth_time and self._is_recent(subject.auth_time, now)):
            return self._refusal("ST-02", "auth_time is missing, too long ago or in the future")
        return None

    def _is_recent(self, auth_time: int, now: int) -> bool:
        return now - (self.max_age or 0) <= auth_time <= now + MAX_AHEAD

    def _refusal(self, check: str, detail: str) -> Refusal:
        return Refusal(Reason.STEP_UP_REQUIRED, check, detail, parameters=self.parameters)


class StepUp(Struct, frozen=True):
    """The compiled step-up of a profile."""

    rules: tuple[StepUpRule, ...]

    @property
    def reads_contexts(self) -> bool:
        """Whether some rule asks for an authentication context."""
        return any(rule.acrs for rule in self.rules)

    def check(self, request: Request, subject: Subject, now: int) -> Refusal | None:
        """Refuse a caller whose authentication does not suffice. `now` is seconds since the epoch."""
        for rule in self.rules:
            if rule.covers(request) and (refusal := rule.refuse(subject, now)):
                if subject.is_anonymous:  # RFC 6750 section 3.1: no error code where no token was sent
                    return Refusal(Reason.NO_CREDENTIAL, refusal.check, "nobody has authenticated")
                return refusal
        return None


def compile_step_up(spec: StepUpSpec, problems: list[Problem], location: Location) -> StepUp | None:
    """Check and compile `stepUp`; None when there were errors, which are then in `problems`."""
    before = len(problems)
    if isinstance(spec, StepUpRuleSpec):
        rules = [_compile_rule(spec, problems, location)]
    else:
        rules = [_compile_rule(rule, problems, (*location, index)) for index, rule in enumerate(spec)]
        if not spec:
            problems.append(Problem(location, "an empty list asks for nothing: write a rule, or leave the field out"))
    return StepUp(tuple(rules)) if len(problems) == before else None


def _compile_rule(spec: StepUpRuleSpec, problems: list[Problem], location: Location) -> StepUpRule:
    if not spec.acr and spec.max_age is None and not spec.acrs:
        problems.append(Problem(location, "asks for nothing: write `acr`, `maxAge` or both, or `acrs`"))
    if spec.acrs and (spec.acr or spec.max_age is not None):
        message = "has a challenge of its own: write `acr` and `maxAge` in another rule"
        problems.append(Problem((*location, "acrs"), message))
    for field, values in (("acr", spec.acr), ("acrs", spec.acrs)):
        _check_values(values, problems, (*location, field))
    max_age = None if spec.max_age is None else parse_duration(spec.max_age)
    if spec.max_age is not None and not max_age:
        message = f"`{spec.max_age}` must be a duration of at least a second, such as `300s`, `5m` or `1h`"
        problems.append(Problem((*location, "maxAge"), message))
    require_methods(spec.methods, problems, (*location, "methods"))
    paths = []
    for index, text in enumerate(spec.paths):
        pattern = parse_pattern(text)
        if isinstance(pattern, str):
            problems.append(Problem((*location, "paths", index), pattern))
        else:
            paths.append(pattern)
    parameters = [("acr_values", " ".join(spec.acr))] if spec.acr else []
    parameters += [] if max_age is None else [("max_age", str(max_age))]
    parameters += _claims_challenge(spec, problems, location) if spec.acrs else []
    return StepUpRule(spec.acr, frozenset(spec.acrs), max_age, spec.methods, tuple(paths), tuple(parameters))


def _check_values(values: tuple[str, ...], problems: list[Problem], location: Location) -> None:
    for index, value in enumerate(values):
        if not _ACR.fullmatch(value):
            message = f"`{value}` is not an acr value: visible ASCII without spaces, quotes and backslashes"
            problems.append(Problem((*location, index), message))
    if len(values) > _MAX_VALUES:
        problems.append(Problem(location, f"more than {_MAX_VALUES} values do not fit into a challenge"))


def _claims_challenge(spec: StepUpRuleSpec, problems: list[Problem], location: Location) -> list[tuple[str, str]]:
    """What Entra's clients hand on when they ask for another token: the first context, as an OpenID claims request."""
    if spec.authorization_uri and not _URI.fullmatch(spec.authorization_uri):
        message = f"`{spec.authorization_uri}` must begin with `https://`, without spaces, quotes and backslashes"
        problems.append(Problem((*location, "authorizationUri"), message))
    request = {"access_token": {"acrs": {"essential": True, "value": spec.acrs[0]}}}
    claims = b64encode(json.dumps(request, separators=(",", ":")).encode()).decode()
    return [("authorization_uri", spec.authorization_uri or AUTHORIZATION_URI), ("claims", claims)]
