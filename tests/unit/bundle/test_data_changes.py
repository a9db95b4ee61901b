"""Other data is put under the policies that are there: nothing is compiled, and each snapshot answers by its own."""

import gc
from collections.abc import Mapping
from weakref import ref

import pytest

from extauthz.bundle import Built, Memory, read_bundle, run_tests
from extauthz.bundle import memory as memory_room
from extauthz.bundle import read as read_room
from extauthz.model.ports import NoTokenCache
from extauthz.policy import compile as compile_room
from tests.unit.bundle.small_bundle import FILES, POLICY

# Each reads data in another way. `slow` is left to CEL's own evaluator, which looks data up by calls into Python.
CONDITIONS = {
    "by-key": "params.id in data.owners[subject.id]",
    "constant": "subject.claims.limit >= data.limits.least",
    "list": "params.id in data.limits.frozen",
    "long-list": "params.id in data.limits.long",
    "whole": "data.limits.frozen.exists(each, each == params.id)",
    "all-of-it": "size(data.owners) == 2",
    "present": "has(data.limits.extra)",
    "absent": "data.limits.later == 1 || params.id == '1'",
    "pattern": "params.id.matches(data.limits.form)",
    "slow": "params.id.matches(data.owners[subject.id][0])",
    "without": "params.id == '1'",
}
LONG = "\n".join(f"- '{number}'" for number in range(100, 120))
LIMITS = f"""\
least: 10
form: "^[0-9]$"
frozen: ["1"]
long:
- "1"
{LONG}
"""
OWNERS = '{"alice": ["1"], "bob": []}'


def policies() -> dict[str, bytes]:
    named = {}
    for name, condition in CONDITIONS.items():
        text = POLICY.replace("name: staff", f"name: {name}").replace("subject.claims.limit >= 10", f'"{condition}"')
        text = text.replace("/api/{tenant}/accounts/**", f"/api/{{tenant}}/{name}/{{id}}")
        named[f"policies/{name}.yaml"] = text.encode()
    return named


def cases_of(allowed: Mapping[str, bool]) -> bytes:
    """A PolicyTest that expects these answers for account 1."""
    token = "{issuer: bank, claims: {sub: alice, tenant_id: acme, roles: [officer], limit: 10}}"
    lines = [
        f"  - name: {name}\n    request: {{host: api.bank.test, path: /api/acme/{name}/1}}\n    token: {token}\n"
        f"    expect: {{outcome: {'allow' if yes else 'deny'}}}\n"
        for name, yes in allowed.items()
    ]
    return (
        "apiVersion: extauthz.io/v1\nkind: PolicyTest\nmetadata: {name: data}\nspec:\n  cases:\n" + "".join(lines)
    ).encode()


def bundle(limits: str = LIMITS, owners: str = OWNERS, **allowed: bool) -> dict[str, bytes]:
    files = {name: text.encode() for name, text in FILES.items() if name not in {"policy.yaml", "tests/staff.yaml"}}
    yes = (
        dict.fromkeys(CONDITIONS, True)
        | {"present": False}
        | {name.replace("_", "-"): to for name, to in allowed.items()}
    )
    return {
        **files,
        **policies(),
        "data/limits.yaml": limits.encode(),
        "data/owners.json": owners.encode(),
        "tests/data.yaml": cases_of(yes),
    }


def read(files: Mapping[str, bytes], memory: Memory | None = None) -> Built:
    return read_bundle(files, NoTokenCache(), memory)


def failures(built: Built) -> list[str]:
    return [f"{result.case}: {result.differences}" for result in run_tests(built) if not result.passed]


CHANGES = {
    "an owner": bundle(owners='{"alice": ["2"], "bob": []}', by_key=False, slow=False),
    "a limit": bundle(limits=LIMITS.replace("least: 10", "least: 11"), constant=False),
    "a list": bundle(limits=LIMITS.replace('frozen: ["1"]', 'frozen: ["2", "3"]'), list=False, whole=False),
    "a long list": bundle(limits=LIMITS.replace('- "1"\n', ""), long_list=False),
    "a name more": bundle(limits=LIMITS + "extra: 1\n", present=True),
    "a file in number": bundle(owners='{"alice": ["1"]}', all_of_it=False),
}
OTHERWISE = {
    "a pattern": bundle(limits=LIMITS.replace("[0-9]", "[a-z]"), pattern=False),
    "a place that was not there": bundle(limits=LIMITS + "later: 2\n"),
    "a place that is gone": bundle(limits=LIMITS.replace("least: 10\n", ""), constant=False),
    "a number of another kind": bundle(limits=LIMITS.replace("least: 10", "least: 10.5"), constant=False),
    "a text for a number": bundle(limits=LIMITS.replace("least: 10", 'least: "9"'), constant=False),
    "a list of other things": bundle(limits=LIMITS.replace('frozen: ["1"]', "frozen: [1]"), list=False, whole=False),
    "a text that CEL does not hold": bundle(owners='{"alice": ["1", "a\\u0000b"], "bob": []}'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_data_that_changes_compiles_no_policy(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no policy is linted, and no index is built anew; every answer is by the new data."""
    memory = Memory()
    first = read(bundle(), memory)
    assert failures(first) == []

    def refuse(*_: object) -> None:
        pytest.fail("a policy was compiled")

    for name in ("_compile_policy", "lint", "PolicySet"):
        monkeypatch.setattr(compile_room, name, refuse)
    second = read(CHANGES[change], memory)
    assert failures(second) == []
    before, after = first.snapshot.policies, second.snapshot.policies
    assert before is not after
    shared = {name for name in vars(after) if vars(after)[name] is vars(before)[name]}
    assert shared == vars(after).keys() - {"_facts"}


@pytest.mark.parametrize("change", [*CHANGES, *OTHERWISE])
def test_every_answer_is_by_the_data_of_its_own_snapshot(change: str) -> None:
    """The old one goes on by the old data, also while the new one is in use; back again is another change."""
    memory = Memory()
    first = read(bundle(), memory)
    second = read({**CHANGES, **OTHERWISE}[change], memory)
    third = read(bundle(), memory)
    for _ in range(2):
        assert failures(first) == []
        assert failures(second) == []
        assert failures(third) == []


@pytest.mark.parametrize("change", OTHERWISE)
def test_data_that_expressions_were_not_compiled_for_compiles_them_anew(change: str) -> None:
    """What an expression took for granted of a place, such as its kind, is looked at before it is used again."""
    memory = Memory()
    first = read(bundle(), memory)
    second = read(OTHERWISE[change], memory)
    assert first.snapshot.policies._rules is not second.snapshot.policies._rules
    assert failures(second) == failures(read(OTHERWISE[change])) == []


def test_tenants_that_change_are_known_at_once() -> None:
    """The registry is data: who is in it, and which policies speak of tenants that are not, is looked at anew."""
    memory = Memory()
    files = bundle()
    files["policies/by-key.yaml"] = files["policies/by-key.yaml"].replace(b"spec:\n", b"spec:\n  tenant: acme\n", 1)
    first = read(files, memory)
    second = read({**files, "data/tenants.yaml": b"acme: {}\nnew: {}\n"}, memory)
    assert ["acme", "globex"] == [*first.snapshot.tenants]
    assert ["acme", "new"] == [*second.snapshot.tenants]
    assert first.snapshot.policies._rules is second.snapshot.policies._rules
    with pytest.raises(read_room.BundleError, match="unknown tenant `acme`"):
        read({**files, "data/tenants.yaml": b"other: {}\n"}, memory)


def test_old_data_is_gone_after_the_update() -> None:
    """Of a hundred states only the one in force is kept, and the one before until it is replaced."""
    memory = Memory()
    built, kept = read(bundle(owners='{"alice": ["1", "marker-first"], "bob": []}'), memory), []
    kept.append(ref(built.snapshot.policies))
    for number in range(100):
        built = read(bundle(owners=f'{{"alice": ["1", "marker-{number}"], "bob": []}}'), memory)
        kept.append(ref(built.snapshot.policies))
    gc.collect()
    alive = [
        each
        for each in gc.get_objects()
        if type(each) is list and any(type(of) is str and of.startswith("marker-") for of in each)
    ]
    assert alive == [["1", "marker-99"]]
    assert [found() for found in kept] == [None] * 100 + [built.snapshot.policies]


def test_expressions_that_no_policy_has_any_more_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_room, "_OLD_EXPRESSIONS", 20)
    memory = Memory()
    for number in range(100):
        files = bundle()
        files["policies/without.yaml"] = files["policies/without.yaml"].replace(b"'1'", f"'{number}'".encode())
        read(files, memory)
    conditions = memory.policies._conditions
    assert conditions is not None
    assert conditions.count <= 2 * len(CONDITIONS) + 21


def test_files_that_did_not_change_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    files = bundle()
    read(files, memory)
    parsed: list[str] = []
    monkeypatch.setattr(memory_room, "read_data", lambda text, path: parsed.append(path) or {"least": 1})
    monkeypatch.setattr(memory_room, "parse_yaml", lambda _, path: parsed.append(path) or [])
    read({**files, "data/limits.yaml": files["data/limits.yaml"] + b"more: 1\n"}, memory)
    assert ["data/limits.yaml"] == parsed
