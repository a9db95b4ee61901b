"""What a list of revocations finds: by every selector, for exactly whom it names, at the same cost whatever its length."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.guards import NEVER, SELECTORS, AsListed, Entry, RevocationList, in_force, listed, wrong_with
from extauthz.guards import entries as entries_room
from extauthz.model.moment import exactly
from extauthz.model.reasons import Reason
from extauthz.model.subject import ANONYMOUS, Subject

NOW = 1_800_000_000
FRONT = "spiffe://cluster.local/ns/web/sa/front"
CALLER = Subject(
    issuer="https://idp.test",
    id="u1",
    client="app",
    tenant="acme",
    issued_at=NOW - 60,
    token_id="jti-1",
    key_id="kid-1",
    session="sid-1",
)
NAMED = {
    "tokenId": "jti-1",
    "session": "sid-1",
    "keyId": "kid-1",
    "subject": "u1",
    "client": "app",
    "service": FRONT,
    "tenant": "acme",
}


def an_entry(selector: Any, value: str = "", **fields: Any) -> Entry:
    issuer = "https://idp.test" if selector == "subject" else ""
    return Entry(
        **{"selector": selector, "value": value or NAMED[selector], "issuer": issuer, "place": "entry 1"} | fields
    )


def refusal(
    *entries: Entry, subject: Subject = CALLER, tenant: str | None = None, services: tuple[str, ...] = (FRONT,)
):
    found = subject.tenant if tenant is None else tenant
    emergencies = in_force(listed(entries), AsListed(), NOW)
    return emergencies.refuse_caller(subject, found, services) if emergencies else None


@pytest.mark.parametrize("selector", SELECTORS)
def test_jwt_13_every_selector_revokes_whom_it_names(selector: str) -> None:
    found = refusal(an_entry(selector))
    of_token = selector in {"tokenId", "session", "keyId"}
    assert (Reason.TOKEN_REVOKED if of_token else Reason.EMERGENCY_DENIED, "JWT-13") == (found.reason, found.check)
    assert f"`{selector}` of entry 1" in found.detail


@pytest.mark.parametrize("selector", SELECTORS)
def test_jwt_13_nobody_else_is_revoked(selector: str) -> None:
    assert refusal(an_entry(selector, "spiffe://other")) is None
    assert refusal() is None


@pytest.mark.parametrize("selector", ["tokenId", "session", "keyId", "subject", "client"])
def test_jwt_21_a_name_given_by_another_issuer_is_another_name(selector: str) -> None:
    assert refusal(an_entry(selector, issuer="https://other.test")) is None
    assert refusal(an_entry(selector, issuer="https://idp.test")) is not None
    assert (
        refusal(an_entry(selector), subject=replace(CALLER, issuer="https://other.test")) is None
        or selector != "subject"
    )


def test_jwt_21_a_client_id_does_not_revoke_the_subject_of_that_name() -> None:
    twin = replace(CALLER, id="app", client="u1")
    assert refusal(an_entry("subject"), subject=twin) is None
    assert refusal(an_entry("client"), subject=twin) is None


@pytest.mark.parametrize(("issued_at", "revoked"), [(NOW - 1, True), (NOW, False), (NOW + 1, False), (0, True)])
def test_jwt_13_tokens_issued_before_a_moment_are_revoked_and_later_ones_pass(issued_at: int, revoked: bool) -> None:
    """A token that does not say when it was issued counts as issued before."""
    for selector in ("subject", "client", "tenant", "session", "keyId"):
        found = refusal(an_entry(selector, issued_before=NOW), subject=replace(CALLER, issued_at=issued_at))
        assert (Reason.TOKEN_REVOKED if revoked else None) == (found and found.reason)


def test_a_frozen_tenant_is_closed_to_those_who_come_from_elsewhere() -> None:
    assert Reason.EMERGENCY_DENIED == refusal(an_entry("tenant", "globex"), tenant="globex").reason
    assert Reason.EMERGENCY_DENIED == refusal(an_entry("tenant"), subject=ANONYMOUS, tenant="acme").reason


def test_moments_of_issue_say_nothing_about_callers_without_a_token() -> None:
    assert refusal(an_entry("tenant", issued_before=NOW), subject=ANONYMOUS, tenant="acme") is None


def test_who_is_revoked_may_not_act_for_others() -> None:
    """RFC 8693 section 4.1: the outermost actor calls; those within it are history."""
    for actors, revoked in ((("u1",), True), (("u2", "u1"), False), ((), False)):
        assert revoked == (refusal(an_entry("subject"), subject=replace(CALLER, id="u9", actors=actors)) is not None)


@pytest.mark.parametrize("until", [NOW, NOW - 1, 0])
def test_an_entry_ends_at_its_moment(until: int) -> None:
    assert refusal(an_entry("subject", until=until)) is None
    assert refusal(an_entry("subject", until=NOW + 1)) is not None


def test_entries_in_force_are_counted() -> None:
    listed = RevocationList([an_entry("subject"), an_entry("client", until=NOW), an_entry("tenant", until=NOW + 1)])
    assert (3, 2, 1) == (len(listed), listed.in_force(NOW), listed.in_force(NOW + 1))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (an_entry("tokenId", "x" * 513), ("tokenId", "must be 1 to 512 printable characters")),
        (an_entry("client", "a\nb"), ("client", "must be 1 to 512 printable characters")),
        (an_entry("service", "web"), ("service", "`web` must be a SPIFFE ID, e.g. `spiffe://cluster.local/ns/web/sa/front`")),
        (an_entry("subject", issuer=""), ("issuer", "missing: a subject is unique within its issuer only")),
        (an_entry("tenant", issuer="https://idp.test"), ("issuer", "a tenant belongs to no issuer: leave it out")),
        (an_entry("tokenId", issued_before=1), ("issuedBefore", "`tokenId` names one token: leave it out")),
        (an_entry("service", issued_before=1), ("issuedBefore", "`service` is known by its certificate, not by a token: leave it out")),
        (an_entry("tokenId"), None),
    ],
)  # fmt: skip
def test_entries_that_could_not_mean_what_they_say_are_refused(entry: Entry, expected: object) -> None:
    assert expected == wrong_with(entry)


# --- properties

names = st.sampled_from(["", "a", "b", "spiffe://a"])
issuers = st.sampled_from(["", "https://a.test", "https://b.test"])
times = st.sampled_from([0, 5, 10, 15, NEVER])
entries = st.builds(
    Entry,
    selector=st.sampled_from(SELECTORS),
    value=names.filter(bool),
    issuer=issuers,
    issued_before=times,
    until=times,
    place=st.just("somewhere"),
)
subjects = st.builds(
    Subject,
    issuer=issuers,
    id=names,
    client=names,
    tenant=names,
    issued_at=st.sampled_from([0, 4, 5, 12]),
    token_id=names,
    key_id=names,
    session=names,
    actors=st.lists(names, max_size=2).map(tuple),
)


def applies(entry: Entry, subject: Subject, tenant: str, now: int, services: tuple[str, ...]) -> bool:
    """What an entry means, one entry at a time."""
    s = entry.selector
    if s in {"service", "tenant"}:
        named = entry.issuer == "" and entry.value in (services if s == "service" else (tenant,))
    else:
        own = {"tokenId": (subject.token_id,), "session": (subject.session,), "keyId": (subject.key_id,), "client": (subject.client,), "subject": (subject.id, *subject.actors[:1])}[s]  # fmt: skip
        named = bool(subject.issuer) and entry.issuer in {"", subject.issuer} and entry.value in own
    dated = entry.issued_before == NEVER or (bool(subject.issuer) and subject.issued_at < entry.issued_before)
    return named and dated and now < entry.until


@given(
    st.lists(entries, max_size=8),
    subjects,
    names,
    st.sampled_from([0, 4, 5, 9, 10, 20]),
    st.lists(names, max_size=2).map(tuple),
)
def test_jwt_13_a_list_finds_something_exactly_when_one_of_its_entries_applies(
    listed: list[Entry], subject: Subject, tenant: str, now: int, services: tuple[str, ...]
) -> None:
    found = RevocationList(listed).find(subject, tenant, exactly(now), services)
    matching = [entry for entry in listed if applies(entry, subject, tenant, now, services)]
    assert bool(matching) == (found is not None)
    if found is not None and not found.whole:
        assert any(e.selector in {"tokenId", "session", "keyId"} or e.issued_before != NEVER for e in matching)


@given(st.text(), st.text(), st.integers(), st.text())
def test_jwt_13_any_caller_gets_an_answer(value: str, issuer: str, now: int, tenant: str) -> None:
    """Texts as odd as a hostile issuer could write, surrogates included."""
    subject = Subject(issuer=issuer, id=value, token_id=value, session=issuer, actors=(value,))
    listed = RevocationList([an_entry(selector) for selector in SELECTORS])
    found = listed.find(subject, tenant, now, (value,))
    assert (found is not None) == (
        tenant == "acme" or value == FRONT or (bool(issuer) and (value == "jti-1" or issuer == "sid-1" or (value, issuer) == ("u1", "https://idp.test")))
    )  # fmt: skip


def test_a_lookup_in_100_000_entries_looks_at_a_handful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when all of them name one thing; counted, for times say little on a busy machine."""
    many = range(100_000)
    lists = {
        "many tokens": RevocationList([an_entry("tokenId", f"t{n}", until=NOW + n) for n in many]),
        "one subject": RevocationList([an_entry("subject", until=NOW + n, issued_before=n) for n in many]),
        "falling": RevocationList([an_entry("subject", until=NOW + n, issued_before=100_000 - n) for n in many]),
    }
    looked_at: list[Entry] = []

    def until(entry: Entry) -> int:
        looked_at.append(entry)
        return entry.until

    monkeypatch.setattr(entries_room, "_until", until)
    for name, found in lists.items():
        looked_at.clear()
        found.find(CALLER, "acme", exactly(NOW), (FRONT,))
        assert len(looked_at) <= 20, name
