"""`extauthz bundle`: what people and pipelines see, and the exit codes they rely on."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from extauthz.cli import bundle_mutate, main
from extauthz.model.codes import CODES
from tests.unit.bundle.small_bundle import FILES, POLICY, TEST


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bundle", *arguments])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "small" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "small"


def test_lint_of_a_good_bundle_ends_with_0_and_its_revision(directory: Path) -> None:
    result = run("lint", str(directory))
    assert (result.exit_code, result.output) == (
        0,
        (
            f"{directory}: 0 errors, 0 warnings; revision small-1: 1 Bundle, 1 Issuer, 1 SecurityProfile, 1 Tenancy, "
            "1 AccessPolicy, 1 PolicyTest\n"
        ),
    )


def test_lint_prints_every_error_with_its_place_and_ends_with_1(directory: Path) -> None:
    (directory / "policy.yaml").write_text(POLICY.replace("allow", "alow"))
    (directory / "bundle.yaml").write_text("a: 1\na: 2\n")
    result = run("lint", str(directory))
    assert (result.exit_code, result.output) == (
        1,
        (
            "error  bundle.yaml:2: key `a` is already set in line 1: remove one  [syntax]\n"
            "error  policy.yaml:5: spec.effect: unknown value `alow`, did you mean `allow`?  [invalid-value]\n"
            f"{directory}: 2 errors, 0 warnings\n"
        ),
    )


def test_lint_for_pipelines(directory: Path) -> None:
    (directory / "policy.yaml").write_text(POLICY.replace("allow", "alow"))
    result = run("lint", "--format", "json", str(directory))
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "ok": False,
        "errors": 1,
        "warnings": 0,
        "findings": [
            {
                "file": "policy.yaml",
                "line": 5,
                "field": "spec.effect",
                "message": "unknown value `alow`, did you mean `allow`?",
                "severity": "error",
                "code": "invalid-value",
            }
        ],
    }


def test_warnings_fail_only_when_asked(directory: Path) -> None:
    other = FILES["issuer.yaml"].replace("name: bank", "name: other").replace("//idp", "//other")
    (directory / "other.yaml").write_text(other)
    assert run("lint", str(directory)).exit_code == 0
    strict = run("lint", "--strict", str(directory))
    assert (strict.exit_code, strict.output.splitlines()[0]) == (
        1,
        (
            "warning  other.yaml:3: metadata.name: no SecurityProfile accepts tokens of `other`: name it in "
            "`authentication.issuers`  [unused-issuer]"
        ),
    )


def test_lint_of_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    result = run("lint", str(tmp_path / "none"))
    assert (result.exit_code, result.output.splitlines()[0]) == (
        1,
        f"error  {tmp_path}/none: the directory does not exist  [invalid]",
    )


def test_test_says_how_many_cases_pass_and_which_rules_are_covered(directory: Path) -> None:
    result = run("test", str(directory))
    assert (result.exit_code, result.output) == (
        0,
        "1 of 1 cases pass; 1 of 1 rules decide, 1 of 2 branches of conditions are taken: coverage 50 %\n",
    )


def test_a_failing_case_is_shown_with_its_place_and_the_reason(directory: Path, tmp_path: Path) -> None:
    (directory / "tests/staff.yaml").write_text(TEST.replace("tenant_id: acme", "tenant_id: globex"))
    result = run("test", "--junit", str(tmp_path / "report.xml"), str(directory))
    assert (result.exit_code, result.output) == (
        1,
        (
            "FAIL  an officer reads  deny tenant_mismatch  (tests/staff.yaml:6)\n"
            "      outcome: expected `allow`, got `deny`\n"
            "      policy: expected `staff`, got none\n"
            "      rule: expected `read`, got none\n"
            "      tenant: expected `acme`, got none\n"
            "      because: JWT-20 the resource belongs to another tenant\n"
            "0 of 1 cases pass; 0 of 1 rules decide, 0 of 2 branches of conditions are taken: coverage 0 %\n"
        ),
    )
    suite = ET.parse(tmp_path / "report.xml").getroot()
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuites", "1", "1")
    case = suite.find("testsuite[@name='staff']/testcase[@name='an officer reads']")
    assert case is not None
    assert (case.get("file"), case.get("line"), float(case.get("time", ""))) > ("tests/staff.yaml", "6", 0.0)
    assert case.find("failure") is not None


def test_too_little_coverage_fails_and_what_is_missing_is_listed(directory: Path) -> None:
    assert run("test", "--min-coverage", "50", str(directory)).exit_code == 0
    result = run("test", "--min-coverage", "51", str(directory))
    assert (result.exit_code, result.output) == (
        1,
        (
            "rule        decides  refuses  branches\n"
            "staff/read        1        0       1/2\n"
            "  policy.yaml:8: no request on its route is refused by it\n"
            "  policy.yaml:8: `subject.claims.limit >= 10` is never false\n"
            "1 of 1 cases pass; 1 of 1 rules decide, 1 of 2 branches of conditions are taken: coverage 50 %\n"
        ),
    )


def test_coverage_for_programs(directory: Path, tmp_path: Path) -> None:
    file = tmp_path / "coverage.json"
    assert run("test", "--coverage", str(file), str(directory)).exit_code == 0
    found = json.loads(file.read_text())
    assert {"total": 4, "covered": 2} == found["points"]
    assert [
        {
            "policy": "staff",
            "rule": "read",
            "file": "policy.yaml",
            "line": 8,
            "effect": "allow",
            "mode": "enforce",
            "decided": 1,
            "refused": 0,
            "condition": [{"text": "subject.claims.limit >= 10", "true": 1, "false": 0, "error": 0}],
            "missing": ["no request on its route is refused by it", "`subject.claims.limit >= 10` is never false"],
        }
    ] == found["details"]
    assert found == json.loads(run("test", "--format", "json", str(directory)).output)["coverage"]


def test_mutants_that_no_case_notices_are_listed_with_what_would_notice(directory: Path) -> None:
    result = run("test", "--mutate", "--min-score", "50", str(directory))
    said = result.stdout
    assert (
        "survives  policy.yaml:10: staff/read: `from[0].roles` is dropped\n"
        "          would be killed by a case in which everything of `staff/read` holds but `roles: officer`\n"
    ) in said
    assert "mutants are noticed" in said
    found = json.loads(run("test", "--mutate", "--format", "json", str(directory)).stdout)["mutation"]
    assert f"score {found['score']} %" in said
    assert (found["score"] < 50) == (result.exit_code == 1)
    assert {
        "operator": "drop-rule",
        "file": "policy.yaml",
        "line": 8,
        "subject": "staff/read",
        "what": "the rule is dropped",
        "outcome": "killed",
        "killedBy": "tests/staff.yaml:6: an officer reads",
        "wouldBeKilledBy": "",
    } in found["mutants"]
    assert found["killed"] + found["survived"] + found["refused"] == len(found["mutants"])


def test_a_score_that_is_too_low_fails(directory: Path) -> None:
    assert 1 == run("test", "--mutate", "--min-score", "100", str(directory)).exit_code
    assert 0 == run("test", "--mutate", str(directory)).exit_code
    wrong = run("test", "--min-score", "100", str(directory))
    assert (2, True) == (wrong.exit_code, "--min-score goes with --mutate" in wrong.stderr)


def test_no_mutant_is_tried_where_a_case_fails_already(directory: Path) -> None:
    (directory / "tests/staff.yaml").write_text(TEST.replace("tenant_id: acme", "tenant_id: globex"))
    result = run("test", "--mutate", str(directory))
    assert (1, True) == (
        result.exit_code,
        "no mutant was tried: they are held against cases that pass" in result.stdout,
    )


def test_mutants_end_when_the_time_is_up_and_it_is_said_how_many_were_not_tried(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100_000, 4))
    monkeypatch.setattr(bundle_mutate, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    result = run("test", "--mutate", "--max-seconds", "30", str(directory))
    assert "were not tried within the time given" in result.stdout
    assert "mutants: " in result.stderr


def test_several_processes_find_the_same_survivors(directory: Path) -> None:
    one, two = (run("test", "--mutate", "-j", jobs, str(directory)).stdout for jobs in ("1", "2"))
    assert one == two


def test_several_processes_say_the_same_in_the_same_order(directory: Path) -> None:
    cases = [TEST.split("  cases:\n")[1].replace("an officer", f"officer {number}") for number in range(9)]
    (directory / "tests/staff.yaml").write_text(TEST.split("  cases:\n")[0] + "  cases:\n" + "".join(cases))
    one, two = run("test", "-v", "-j", "1", str(directory)), run("test", "-v", "-j", "2", str(directory))
    assert (0, one.output) == (two.exit_code, two.output)
    assert "officer 8" in one.output


def test_test_and_show_of_a_broken_bundle_end_with_3(directory: Path) -> None:
    (directory / "policy.yaml").write_text("a: [")
    for name in ("test", "show"):
        result = run(name, str(directory))
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr == "error  policy.yaml:1: not valid YAML: did not find expected node content  [syntax]\n"


def test_a_report_that_cannot_be_written_ends_with_4(directory: Path) -> None:
    result = run("test", "--junit", str(directory / "none/report.xml"), str(directory))
    assert (result.exit_code, result.stderr) == (
        4,
        f"extauthz: {directory}/none/report.xml: no such file or directory\n",
    )


def test_show_describes_what_would_be_in_force(directory: Path) -> None:
    shown = json.loads(run("show", "--format", "json", str(directory)).output)
    assert shown["revision"] == "small-1"
    assert shown["documents"]["AccessPolicy"] == 1
    assert shown["issuers"] == [
        {"name": "bank", "issuer": "https://idp.bank.test", "keys": "https://idp.bank.test/certs"}
    ]
    text = run("show", str(directory)).output
    assert f"digest: {shown['digest']}\n" in text
    assert "  api: hosts api.bank.test, paths /api/**, authentication required\n" in text


def test_show_lists_conditions_that_cel_itself_evaluates_at_each_request(directory: Path) -> None:
    assert json.loads(run("show", "--format", "json", str(directory)).output)["slow"] == []
    policy = (directory / "policy.yaml").read_text()
    changed = re.sub("condition: .*", "condition: subject.id.matches('x|y')", policy)
    assert changed != policy
    (directory / "policy.yaml").write_text(changed)
    assert "slow:\n  staff/read: condition with `matches('x|y')`\n" in run("show", str(directory)).output


def test_a_warning_that_is_ignored_is_gone_and_does_not_fail(directory: Path) -> None:
    other = FILES["issuer.yaml"].replace("name: bank", "name: other").replace("//idp", "//other")
    (directory / "other.yaml").write_text(other)
    result = run("lint", "--strict", "--ignore", "unused-issuer", str(directory))
    assert (result.exit_code, "0 warnings" in result.output) == (0, True)
    assert 0 == run("lint", "--strict", "--ignore", "header-spelling,unused-issuer", str(directory)).exit_code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("unused-isuer", "unknown code `unused-isuer`, did you mean `unused-issuer`?"),
        ("syntax", "`syntax` is an error's code: a bundle with errors cannot be activated"),
    ],
)
def test_errors_and_unknown_codes_cannot_be_ignored(directory: Path, code: str, words: str) -> None:
    result = run("lint", "--ignore", code, str(directory))
    assert 2 == result.exit_code
    assert words in " ".join(result.stderr.split())


def test_lint_for_code_scanning_is_sarif(directory: Path) -> None:
    (directory / "policy.yaml").write_text(POLICY.replace("allow", "alow"))
    result = run("lint", "--format", "sarif", str(directory))
    log = json.loads(result.output)
    (found,) = log["runs"][0]["results"]
    assert (1, "2.1.0") == (result.exit_code, log["version"])
    assert [{"id": "invalid-value", "shortDescription": {"text": CODES["invalid-value"]}}] == log["runs"][0]["tool"][
        "driver"
    ]["rules"]
    assert {
        "ruleId": "invalid-value",
        "ruleIndex": 0,
        "level": "error",
        "message": {"text": "spec.effect: unknown value `alow`, did you mean `allow`?"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": f"{directory.as_posix()}/policy.yaml"},
                    "region": {"startLine": 5},
                }
            }
        ],
    } == found


def test_lint_for_github_annotates_the_line_and_nothing_breaks_out_of_it(directory: Path) -> None:
    (directory / "policy.yaml").write_text(POLICY.replace("effect: allow", 'effect: "al%low"'))
    result = run("lint", "--format", "github", str(directory))
    assert result.output.splitlines()[0] == (
        f"::error file={directory.as_posix()}/policy.yaml,line=5,title=invalid-value::"
        "spec.effect: unknown value `al%25low`, did you mean `allow`?"
    )


def test_every_code_is_listed_with_its_meaning() -> None:
    result = run("lint", "--list-codes")
    assert (0, len(CODES)) == (result.exit_code, len(result.output.splitlines()))
    assert "warning  unreachable-rule" in result.output


@pytest.mark.parametrize("name", ["lint", "test", "show"])
def test_help_has_examples_and_exit_codes(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"extauthz bundle {name} " in result.output
    assert "Exit codes:" in result.output
