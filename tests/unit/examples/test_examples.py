"""The two reference bundles: they load without a warning, pass their own tests, and every rule is tested."""

from pathlib import Path

import pytest

from extauthz.bundle import Built, TestResult, read_bundle, run_tests
from extauthz.bundle.mutation import Mutation
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from tests.engine import load
from tests.unit.bundle.small_bundle import covered

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


@pytest.fixture(scope="module", params=NAMES)
def built(request: pytest.FixtureRequest) -> Built:
    return read_bundle(load(EXAMPLES / request.param), NoTokenCache())


@pytest.fixture(scope="module")
def results(built: Built) -> list[TestResult]:
    return run_tests(built)


def test_both_bundles_are_there() -> None:
    assert {"banking", "marketplace"} <= set(NAMES)


def test_a_reference_bundle_loads_without_a_warning(built: Built) -> None:
    assert [] == [str(warning) for warning in built.warnings]


def test_a_reference_bundle_passes_its_own_tests(results: list[TestResult]) -> None:
    failed = [f"{r.file}:{r.line}: {r.case}: {'; '.join(r.differences)}" for r in results if not r.passed]
    assert [] == failed
    assert results


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_of_a_reference_bundle_decides_and_refuses_and_every_branch_is_taken(name: str) -> None:
    cover = covered(load(EXAMPLES / name))
    assert [] == [f"{rule.policy}/{rule.rule}: {missing}" for rule in cover.rules for missing in rule.missing]
    assert 100 == cover.percent


@pytest.mark.parametrize("name", NAMES)
def test_no_change_to_a_reference_bundle_goes_unnoticed(name: str) -> None:
    tried = Mutation(load(EXAMPLES / name))
    fates = [tried.run(number).outcome for number in range(len(tried.mutants))]
    survivors = [
        f"{mutant.file}:{mutant.line}: {mutant.subject}: {mutant.change.what}"
        for mutant, fate in zip(tried.mutants, fates, strict=True)
        if fate == "survived"
    ]
    assert [] == survivors
    assert fates.count("killed") > 100


def test_every_case_of_a_denial_says_why(built: Built) -> None:
    """A case that expects only `deny` would pass for the wrong reason."""
    vague = [
        case.spec.name for case in built.tests if case.spec.expect.outcome == "deny" and not case.spec.expect.reason
    ]
    assert [] == vague


def test_the_banking_tests_show_every_reason_of_tenancy_and_fapi() -> None:
    banking = read_bundle(load(EXAMPLES / "banking"), NoTokenCache())
    shown = {result.reason for result in run_tests(banking)}
    wanted = {reason.code for reason in Reason if reason.name.startswith(("TENANT_", "FAPI_"))}
    assert wanted - {"fapi_version_unsupported"} <= shown  # versions are for Australia


def test_the_marketplace_has_no_way_across_vendors() -> None:
    profiles = read_bundle(load(EXAMPLES / "marketplace"), NoTokenCache()).snapshot.profiles.profiles
    guards = [profile.tenancy for profile in profiles if profile.tenancy]
    assert guards
    assert {()} == {guard.grants for guard in guards}
