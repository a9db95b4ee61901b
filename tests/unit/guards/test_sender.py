"""What a profile demands of the sender of a token, and what its challenges offer."""

import pytest

from extauthz.guards import SenderConstraint, compile_sender
from extauthz.model.decision import Deny, Evidence
from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from extauthz.model.subject import ANONYMOUS, SERVICE, Subject
from extauthz.wire.challenges import challenges

THUMB = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"
BEARER = Subject(issuer="https://idp.test", id="u")
DPOP = Subject(issuer="https://idp.test", id="u", confirmation=("jkt",), jkt=THUMB)
MTLS = Subject(issuer="https://idp.test", id="u", confirmation=("x5t#S256",), x5t=THUMB)
BOTH = Subject(issuer="https://idp.test", id="u", confirmation=("jkt", "x5t#S256"), jkt=THUMB, x5t=THUMB)
UNKNOWN = Subject(issuer="https://idp.test", id="u", confirmation=("kid",))

EITHER = SenderConstraint(required=True, offered=True, algorithms="ES256 PS256")
ONLY_MTLS = SenderConstraint(required=True, accept=("mtls",), algorithms="ES256 PS256")
ONLY_DPOP = SenderConstraint(required=True, accept=("dpop",), offered=True, algorithms="ES256 PS256")
CHANGING_OVER = SenderConstraint(offered=True, algorithms="ES256 PS256")
SAYS_NOTHING = SenderConstraint(algorithms="ES256 PS256")


@pytest.mark.parametrize(
    ("constraint", "subject", "reason"),
    [
        (EITHER, BEARER, "sender_constraint_missing MTLS-01"),
        (EITHER, DPOP, None),
        (EITHER, MTLS, None),
        (EITHER, BOTH, None),
        (EITHER, UNKNOWN, "token_binding_unverified MTLS-10"),
        (ONLY_MTLS, BEARER, "sender_constraint_missing MTLS-01"),
        (ONLY_MTLS, DPOP, "sender_constraint_missing MTLS-01"),
        (ONLY_MTLS, MTLS, None),
        (ONLY_MTLS, BOTH, None),
        (ONLY_DPOP, BEARER, "sender_constraint_missing MTLS-01"),
        (ONLY_DPOP, MTLS, "sender_constraint_missing MTLS-01"),
        (ONLY_DPOP, DPOP, None),
        (CHANGING_OVER, BEARER, None),
        (SAYS_NOTHING, BEARER, None),
    ],
)
def test_mtls_01_a_token_that_anybody_could_present_is_refused_where_a_bound_one_is_required(
    constraint: SenderConstraint, subject: Subject, reason: str | None
) -> None:
    refusal = constraint.refuse(subject)
    assert reason == (refusal and f"{refusal.reason.code} {refusal.check}")


@pytest.mark.parametrize("subject", [ANONYMOUS, Subject(issuer="cluster.local", id="s", issuer_name=SERVICE)])
def test_mtls_01_callers_without_a_token_have_none_to_bind(subject: Subject) -> None:
    """Whether they may call is what `authentication` and the policies say."""
    assert EITHER.refuse(subject) is None


def challenged(constraint: SenderConstraint, reason: Reason, scheme: str = "", subject: Subject = BEARER) -> list[str]:
    deny = Deny(reason, scheme=scheme, evidence=Evidence(subject=subject))
    return [line.split(", error_description")[0] for line in challenges(constraint.challenge(deny), "")]


def test_without_a_credential_everything_accepted_is_offered() -> None:
    """RFC 9449 section 7.2, figure 17: no error code where nothing was sent."""
    assert ['DPoP algs="ES256 PS256"', "Bearer"] == challenged(EITHER, Reason.NO_CREDENTIAL)
    assert ["Bearer"] == challenged(ONLY_MTLS, Reason.NO_CREDENTIAL)
    assert ['DPoP algs="ES256 PS256"'] == challenged(ONLY_DPOP, Reason.NO_CREDENTIAL)
    assert ['DPoP algs="ES256 PS256"', "Bearer"] == challenged(CHANGING_OVER, Reason.NO_CREDENTIAL)
    assert ["Bearer"] == challenged(SAYS_NOTHING, Reason.NO_CREDENTIAL)


def test_a_bad_token_is_challenged_in_the_scheme_it_came_with() -> None:
    """RFC 9449 section 7.2, figure 18: the other scheme is offered without an error."""
    assert ['Bearer error="invalid_token"', 'DPoP algs="ES256 PS256"'] == challenged(EITHER, Reason.TOKEN_EXPIRED)
    first, second = challenges(EITHER.challenge(Deny(Reason.TOKEN_EXPIRED, scheme="DPoP")), "")
    assert first.startswith('DPoP error="invalid_token"')
    assert first.endswith('algs="ES256 PS256"')
    assert "Bearer" == second


def test_a_plain_token_where_proofs_are_required_is_told_of_them() -> None:
    lines = challenged(ONLY_DPOP, Reason.SENDER_CONSTRAINT_MISSING)
    assert ['Bearer error="invalid_token"', 'DPoP algs="ES256 PS256"'] == lines


def test_a_refusal_after_a_good_proof_stays_in_its_scheme() -> None:
    (line,) = challenged(SAYS_NOTHING, Reason.SCOPE_INSUFFICIENT, subject=DPOP)
    assert line.startswith('DPoP error="insufficient_scope"')


@pytest.mark.parametrize("reason", [Reason.PROOF_INVALID, Reason.PROOF_NONCE_REQUIRED, Reason.PROOF_REPLAYED])
def test_what_is_wrong_with_a_proof_is_said_with_the_algorithms(reason: Reason) -> None:
    """Also under a profile that does not speak of proofs."""
    for constraint in (EITHER, SAYS_NOTHING):
        line = challenges(constraint.challenge(Deny(reason)), "")[0]
        assert line.startswith("DPoP error=")
        assert line.endswith('algs="ES256 PS256"')


def test_a_denial_without_challenge_is_left_as_it_is() -> None:
    deny = Deny(Reason.POLICY_DENIED)
    assert deny == EITHER.challenge(deny)


def test_dp_18_reads_may_pass_without_the_store_where_the_profile_says_so_and_writes_never() -> None:
    lenient = SenderConstraint(reads_without_store=True)
    methods = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO")
    assert ["GET", "HEAD"] == [method for method in methods if lenient.passes_without_store(method)]
    assert not EITHER.passes_without_store("GET")


def test_a_constraint_that_accepts_nothing_is_refused_when_it_is_loaded() -> None:
    problems: list[Problem] = []
    compile_sender((), (), problems, ("s",), required=True, offered=True, reads_without_store=False)
    assert ["an empty list accepts no token at all: name `mtls`, `dpop` or both"] == [p.message for p in problems]
