"""The documentation against the product: links lead somewhere, commands and settings exist, nothing is left unsaid."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from msgspec import Struct
from msgspec.structs import fields

from extauthz.bundle.kinds import KINDS
from extauthz.bundle.schema import _structs
from extauthz.cli import main
from extauthz.policy.variables import VARIABLES
from extauthz.settings import Settings
from extauthz.telemetry.contract import FAMILIES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md"), *(ROOT / "loadtest").rglob("*.md")]
)
WRITTEN = [page for page in PAGES if DOCS / "reference" not in page.parents]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """As code hosts make them of headings."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).lower()).replace(" ", "-")
        for text in found
    }


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text())}
    missing = [named(page) for page in DOCS.rglob("*.md") if page != index and page.resolve() not in linked]
    assert [] == missing


# --- commands


def find(group: click.Command, name: str) -> click.Command | None:
    return group.get_command(click.Context(group), name) if isinstance(group, click.Group) else None


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = find(group, name)
        assert command is not None
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def told(page: Path) -> Iterator[str]:
    """Command lines of shell blocks, each on one line."""
    for _, language, text in FENCE.findall(page.read_text()):
        if language in {"sh", "console"}:
            for line in text.replace("\\\n", " ").splitlines():
                shown = line.strip().removeprefix("$ ")
                if language == "sh" or line.strip().startswith("$ "):
                    yield shown


def calls(page: Path) -> Iterator[list[str]]:
    """The arguments of each call of `extauthz`."""
    for line in told(page):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = list(lexer)
        for at, word in enumerate(words):
            if word in {"extauthz", ".venv/bin/extauthz"} and words[max(0, at - 1)] != "-n":  # kubectl's namespace
                rest = words[at + 1 :]
                end = next((place for place, each in enumerate(rest) if re.fullmatch(r"[|&;>]+", each)), len(rest))
                yield rest[:end]


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_every_command_in_a_page_exists_with_its_options(page: Path) -> None:
    for arguments in calls(page):
        group: click.Command = main
        rest = arguments
        while rest and (below := find(group, rest[0])):
            group, rest = below, rest[1:]
        assert rest is not arguments, arguments
        assert not isinstance(group, click.Group) or not rest, arguments
        options = {"--help", "-h", *(name for each in group.params for name in (*each.opts, *each.secondary_opts))}
        assert {word.partition("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)} <= options, arguments


def test_every_command_is_in_some_page() -> None:
    text = "\n".join(page.read_text() for page in WRITTEN)
    missing = []
    for path, _ in commands(main):
        *parents, last = path
        told_plainly = f"extauthz {' '.join(path)}" in text
        listed = re.search(rf"extauthz {' '.join(parents)} [a-z\\|-]*\b{last}\b", text) if parents else None
        if not told_plainly and not listed:
            missing.append(" ".join(path))
    assert [] == missing


# --- settings, metrics, names


def keys(struct: type[Struct], path: str = "") -> Iterator[str]:
    for field in fields(struct):
        name = f"{path}{field.encode_name}"
        yield name
        for below in _structs(field.type):
            yield from keys(below, f"{name}.")


SECTIONS = {field.encode_name for field in fields(Settings)}
KNOWN = {*keys(Settings), *(key for spec in KINDS.values() for key in keys(spec))}
NAMED = re.compile(rf"`((?:{'|'.join(SECTIONS)})(?:\.[a-z][A-Za-z]*)+)(?=[`:=])")


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    """By its whole name or the end of it; a field of a document may have the name of a section, as `jwks.uri`."""
    ends = (".yaml", ".json", ".key", ".pub")
    for found in NAMED.findall(prose(page)):
        if not found.endswith(ends):
            assert found in KNOWN or any(known.endswith(f".{found}") for known in KNOWN), found


@pytest.mark.parametrize("page", [*WRITTEN, *sorted((ROOT / "deploy").rglob("*.yaml"))], ids=named)
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    known = {family.name for family in FAMILIES}
    suffixes = {name + end for name in known for end in ("_bucket", "_count", "_sum")}
    for found in re.findall(r"\bextauthz_[a-z_]+[a-z]\b(?!\*|\.|_)", page.read_text()):
        assert found in known | suffixes, found


def test_the_policy_guide_names_all_that_conditions_can_read() -> None:
    text = (DOCS / "policy-guide.md").read_text()
    table = text[text.index("| name | what it is |") : text.index("**What cannot be computed")]
    assert [] == [name for name in VARIABLES if f".{name.rpartition('.')[2]}`" not in table and f"`{name}" not in table]


@pytest.mark.parametrize("page", ["configuration", "bundle", "bundle-archive"])
def test_every_field_of_the_reference_says_what_it_means(page: str) -> None:
    text = (DOCS / "reference" / f"{page}.md").read_text()
    assert [] == re.findall(r"^\| `\w+` \|.*\|\s+\|$", text, re.MULTILINE)
