"""The JSON Schemas: what they refuse the compiler refuses, and they refuse what an editor should underline."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from extauthz.bundle import BundleError, lint_bundle, parse_yaml
from extauthz.bundle.kinds import KINDS
from extauthz.bundle.schema import schema
from extauthz.cli import main
from tests.unit.bundle.small_bundle import changed, files
from tests.unit.bundle.test_documents_errors import CASES

ROOT = Path(__file__).parents[3]
ANY = Draft202012Validator(schema())
BY_KIND = {kind: Draft202012Validator(schema(kind)) for kind in KINDS}
EXAMPLES = [file for file in (ROOT / "examples").rglob("*.yaml") if "data" not in file.parts]


def documents(text: bytes) -> list[Any]:
    try:
        return [tree.value for tree in parse_yaml(text, "x.yaml")]
    except BundleError:
        return []


def refused(document: Any) -> bool:
    """Whether the schemas refuse; those of one kind and of any agree."""
    whole = not ANY.is_valid(document)
    kind = document.get("kind") if isinstance(document, dict) else None
    if isinstance(kind, str) and kind in BY_KIND:
        assert whole == (not BY_KIND[kind].is_valid(document)), document
    return whole


def compiles(bundle: dict[str, bytes]) -> bool:
    try:
        lint_bundle(bundle)
    except BundleError:
        return False
    return True


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_the_schemas_are_schemas_and_shipped_as_they_are_generated(kind: str) -> None:
    Draft202012Validator.check_schema(schema(kind))
    shipped = ROOT / "docs" / "reference" / "schemas" / f"{kind or 'document'}.json"
    assert schema(kind) == json.loads(shipped.read_text())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_example_document_is_accepted(file: Path) -> None:
    found = documents(file.read_bytes())
    assert found
    assert [] == [error.message for document in found for error in ANY.iter_errors(document)]
    assert not any(map(refused, found))


def test_every_field_says_what_it_means() -> None:
    assert [] == [
        f"{name}.{field}"
        for name, definition in schema()["$defs"].items()
        for field, described in definition["properties"].items()
        if not described.get("description")
    ]


@pytest.mark.parametrize(("file", "old", "new", "message"), CASES)
def test_what_editors_can_see_is_refused_by_both(file: str, old: str, new: str, message: str) -> None:
    """Of the documents that the compiler refuses, those with a wrong field, value or kind; names and CEL are not theirs."""
    bundle = changed(file, old, new)
    with pytest.raises(BundleError) as caught:
        lint_bundle(bundle)
    codes = {finding.code for finding in caught.value.findings if finding.severity == "error"}
    visible = codes & {"unknown-field", "missing-field", "unknown-kind", "invalid-value"}
    if "a time such as" in message:  # formats are for validators that know them
        visible = set()
    seen = [] if file.startswith("data/") else documents(bundle[file])
    assert bool(visible) == any(map(refused, seen))


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    if isinstance(value, dict):
        found += [place for key, item in value.items() for place in places(item, (*at, key))]
    elif isinstance(value, list):
        found += [place for index, item in enumerate(value) for place in places(item, (*at, index))]
    return found


SOURCE = {name: yaml.safe_load(text) for name, text in files().items() if not name.startswith("data/")}
VALUES = [None, True, 0, -1, 1.5, "", "x", "allow", [], ["x"], {}, {"x": "y"}, [{}], 70000]


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(SOURCE)), changes=st.integers(1, 2))
def test_what_the_schema_refuses_the_compiler_refuses(seed: int, name: str, changes: int) -> None:
    """A valid bundle in which one document is damaged anywhere: a value of another kind, a field more, a field less."""
    chance = random.Random(seed)
    document = copy.deepcopy(SOURCE[name])
    for _ in range(changes):
        *above, last = chance.choice(places(document))
        inside = document
        for step in above:
            inside = inside[step]
        how = chance.choice(["replace", "remove", "add"])
        if how == "remove":
            del inside[last]
        elif how == "add" and isinstance(inside, dict):
            inside["unknown"] = chance.choice(VALUES)
        else:
            inside[last] = copy.deepcopy(chance.choice(VALUES))
        if not places(document):
            return
    text = json.dumps(document).encode()
    if any(refused(each) for each in documents(text)):
        assert not compiles({**files(), name: text}), text


def test_the_command_prints_them() -> None:
    assert schema() == json.loads(CliRunner().invoke(main, ["bundle", "schema"]).output)
    assert schema("AccessPolicy") == json.loads(CliRunner().invoke(main, ["bundle", "schema", "accesspolicy"]).output)
    wrong = CliRunner().invoke(main, ["bundle", "schema", "AccesPolicy"])
    assert (2, True) == (wrong.exit_code, "did you mean `AccessPolicy`?" in " ".join(wrong.stderr.split()))
