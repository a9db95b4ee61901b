"""docs/import-istio.md: its example is what the import writes, and its options are those of the command."""

import re
from pathlib import Path

import yaml
from click.testing import CliRunner

from extauthz.cli import main
from tests.unit.mesh.meshes import imported, policy

PAGE = (Path(__file__).parents[3] / "docs" / "import-istio.md").read_text(encoding="utf-8")


def test_the_pages_rule_is_what_the_import_writes() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    found = imported(policy("{rules: [{to: [{operation: {methods: [GET], paths: ['/accounts/*']}}]}]}"))
    (rule,) = yaml.safe_load(found.files["policies/banking.p.yaml"])["spec"]["rules"]
    assert {"name": "rule-0", **yaml.safe_load(example)} == rule


def test_the_pages_options_and_the_commands_are_the_same() -> None:
    text = CliRunner().invoke(main, ["bundle", "import-istio", "--help"]).output
    options = set(re.findall(r"--[a-z][a-z-]+", text)) - {"--help"}
    told = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert told <= options
    assert {"--default-namespace"} == options - told


def test_the_pages_files_are_those_that_are_written() -> None:
    found = imported(policy("{action: DENY, rules: [{}]}"))
    assert {
        "bundle.yaml",
        "profile.yaml",
        "policies/banking.p.yaml",
        "policies/istio-without-allow-policy.yaml",
    } == set(found.files)
