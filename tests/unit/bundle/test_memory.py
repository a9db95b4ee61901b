"""What is known from the last time is used again, and nothing comes out otherwise than without it."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.bundle import Built, BundleError, Memory, read_bundle, run_tests
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import BUNDLE, FILES, ISSUER, POLICY, PROFILE, TENANCY, TEST

OTHER = POLICY.replace("name: staff", "name: other").replace("limit >= 10", "subject.id in data.owners[params.tenant]")
# What each file may say; None: it is not there. Broken ones among them, by parse, lint and compile.
STATES: Mapping[str, tuple[str | None, ...]] = {
    "bundle.yaml": (BUNDLE, BUNDLE.replace("small-1", "small-2"), None, BUNDLE + "---\n" + BUNDLE),
    "issuer.yaml": (ISSUER, ISSUER.replace("audiences: [bank]", "audiences: [bank, shop]"), None),
    "profile.yaml": (PROFILE, PROFILE.replace("/api/**", "/{tenant}/**"), PROFILE.replace("api.bank", "bank")),
    "tenancy.yaml": (TENANCY, None),
    "policy.yaml": (
        POLICY,
        POLICY.replace("limit >= 10", "limit >= 9"),
        POLICY.replace("limit >= 10", "limit >= data.limits.least"),
        POLICY.replace("limit >= 10", "limit in data.limits.some || size(data.owners) == 1"),
        POLICY.replace("limit >= 10", "roles[0] in data.limits.names && subject.id.matches(data.limits.form)"),
        POLICY.replace("limit >= 10", "params.nobody == 'x'"),
        POLICY.replace("effect: allow", "effect: alow"),
        POLICY + "---\n" + OTHER,
        "a: [",
    ),
    "more.yaml": (None, OTHER, POLICY),
    "tests/staff.yaml": (TEST, TEST.replace("limit: 10", "limit: 9")),
    "data/tenants.yaml": (FILES["data/tenants.yaml"], "acme: {region: us}\n", None),
    "data/limits.yaml": (
        "least: 10\nsome: [10]\n",
        "least: 9\n",
        'least: "9"\nform: "^x"\n',
        f"least: 10.5\nsome: {list(range(12))}\nnames: [officer]\nform: .*\n",
        f"least: 10\nsome: {list(map(str, range(12)))}\nnames: {['officer'] * 12}\nform: .\n",
        'names: {officer: 1}\nform: ".*"\nextra: "\\0"\n',
        None,
        "least: 9\nleast: 10\n",
    ),
    "data/owners.json": ('{"acme": ["alice"]}', '{"globex": []}', '["acme", "globex"]', '{"acme": {"alice": 1}}', None),
}
CHANGES = st.lists(
    st.one_of([st.tuples(st.just(name), st.sampled_from(states)) for name, states in STATES.items()]), max_size=12
)


def outcome(files: Mapping[str, bytes], memory: Memory | None) -> object:
    """Everything that can be seen of a bundle."""
    try:
        built = read_bundle(files, NoTokenCache(), memory)
    except BundleError as error:
        return error.step, [str(finding) for finding in error.findings]
    snapshot = built.snapshot
    return (
        (snapshot.digest, snapshot.revision, snapshot.documents, built.name, built.issuers),
        [str(finding) for finding in built.warnings],
        [(result.case, result.outcome, result.reason, result.rules) for result in run_tests(built)],
        [(rule.full_name, str(rule.condition and rule.condition.text)) for rule in snapshot.policies._rules],
    )


@settings(deadline=None, max_examples=50)
@given(CHANGES)
def test_with_or_without_memory_the_same_comes_out(changes: list[tuple[str, str | None]]) -> None:
    """Whatever was read before, broken or not, in whatever order."""
    memory = Memory()
    files = {name: states[0].encode() for name, states in STATES.items() if states[0] is not None}
    for name, text in [("bundle.yaml", BUNDLE), *changes]:
        files = {path: content for path, content in files.items() if path != name}
        if text is not None:
            files[name] = text.encode()
        assert outcome(files, None) == outcome(files, memory)


def rules_of(built: Built) -> dict[str, object]:
    return {rule.full_name: rule.condition for rule in built.snapshot.policies._rules}


def read(memory: Memory, **changes: str) -> Built:
    named = {f"{name.replace('__', '/')}.yaml": text for name, text in changes.items()}
    texts = {**FILES, "other.yaml": OTHER, "data/owners.yaml": "acme: [alice]\n", **named}
    return read_bundle({name: text.encode() for name, text in texts.items()}, NoTokenCache(), memory)


def test_only_what_changed_is_compiled() -> None:
    memory = Memory()
    before = rules_of(read(memory))
    after = rules_of(read(memory, policy=POLICY.replace("limit >= 10", "limit >= 9")))
    assert before["other/read"] is after["other/read"]
    assert before["staff/read"] is not after["staff/read"]


def test_what_is_gone_is_forgotten() -> None:
    memory = Memory()
    read(memory, **{f"more{number}": OTHER.replace("name: other", f"name: o{number}") for number in range(50)})
    read(memory)
    assert set(memory._files) == {*FILES, "other.yaml", "data/owners.yaml"}
    assert set(memory.policies._known) == {"staff", "other"}


def test_a_broken_file_is_read_again_when_it_is_mended() -> None:
    memory = Memory()
    with pytest.raises(BundleError, match=r"policy.yaml:1"):
        read(memory, policy="a: [")
    assert "staff/read" in rules_of(read(memory))
