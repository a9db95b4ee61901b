"""What the policy guide shows is what happens: its bundle loads and passes, its mistakes are told as printed."""

import re
from pathlib import Path

import pytest
import yaml

from extauthz.bundle import BundleError, read_bundle, run_tests
from extauthz.guards import HeaderRuleSpec
from extauthz.guards.ecosystems import ECOSYSTEMS
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import covered

GUIDE = (Path(__file__).parents[3] / "docs" / "policy-guide.md").read_text()
FENCES = re.findall(r"```(\w+)(?: ([^\n]+))?\n(.*?)```", GUIDE, re.DOTALL)
BUNDLE = {
    info.removeprefix("file="): text.encode() for kind, info, text in FENCES if kind == "yaml" and "file=" in info
}
MISTAKES = [(text, FENCES[at + 1][2]) for at, (_, info, text) in enumerate(FENCES) if info == "mistake"]


def test_the_bundle_of_the_guide_loads_and_passes_its_tests() -> None:
    built = read_bundle(BUNDLE, NoTokenCache())
    results = run_tests(built)
    assert [] == built.warnings
    assert [] == [result for result in results if not result.passed]
    assert all(rule.decided for rule in covered(BUNDLE).rules)
    assert 3 == len(results)


@pytest.mark.parametrize(("document", "told"), MISTAKES)
def test_the_mistakes_of_the_guide_are_told_as_printed(document: str, told: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle({**BUNDLE, "mistake.yaml": document.encode()}, NoTokenCache())
    errors = [finding for finding in caught.value.findings if finding.severity == "error"]
    assert told == "".join(f"{finding}\n" for finding in errors)


@pytest.mark.parametrize("text", [text for kind, info, text in FENCES if kind == "yaml" and not info])
def test_every_other_piece_of_yaml_can_be_read(text: str) -> None:
    assert isinstance(yaml.safe_load(text), dict)


def test_the_table_of_fapi_headers_is_that_of_the_code() -> None:
    shown = ["fapi1-baseline", "fapi2", "uk-obie", "cdr", "brazil", "uae"]
    same = ["uk-obie-3.1.1", "uk-obie-4", "ksa"]
    assert all(ECOSYSTEMS["uk-obie"] == ECOSYSTEMS[name] for name in same)
    assert {*shown, *same, "custom"} == set(ECOSYSTEMS)
    for header in {name for table in ECOSYSTEMS.values() for name in table}:
        cells = [_cell(ECOSYSTEMS[name].get(header)) for name in shown]
        assert f"| `{header}` | {' | '.join(cells)} |\n" in GUIDE


def _cell(rule: HeaderRuleSpec | None) -> str:
    if rule is None:
        return "–"  # noqa: RUF001 - as printed
    words = rule.format + (", ignored if invalid" if rule.invalid == "ignore" else "")
    if rule.required:
        words += ", required"
    if rule.with_header:
        words += f" with `{rule.with_header}`"
    if rule.methods:
        words += f" on {' '.join(rule.methods)} {' '.join(f'`{path}`' for path in rule.paths)}"
    return words
