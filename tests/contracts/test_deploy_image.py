"""The image, read from its Dockerfile."""

import re
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps() -> list[dict[str, str]]:
    """Instructions of the last stage, the one that ships."""
    parser = DockerfileParser(fileobj=(ROOT / "Dockerfile").open("rb"))
    structure = parser.structure
    last_from = max(i for i, step in enumerate(structure) if step["instruction"] == "FROM")
    return structure[last_from:]


def values(steps: list[dict[str, str]], instruction: str) -> list[str]:
    return [step["value"] for step in steps if step["instruction"] == instruction]


def test_the_base_is_pinned_and_can_be_given_by_digest() -> None:
    text = (ROOT / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert {"${PYTHON_IMAGE}", "${PYTHON_IMAGE} AS build"} == set(re.findall(r"^FROM (.+)$", text, re.MULTILINE))


def test_dependencies_are_installed_by_hash_and_as_wheels_only() -> None:
    """No compiler runs while the image is built, so none can hide in it."""
    text = (ROOT / "Dockerfile").read_text()
    installs = re.findall(r"(?<!un)install (--[^\n&\\]+)", text)
    assert 3 == len(installs)
    assert all("--require-hashes" in i and "--only-binary :all:" in i for i in installs if "-r " in i)
    assert all("--no-deps" in i and "--no-index" in i for i in installs if "-r " not in i)
    assert not re.search(r"apt-get|gcc|build-essential", text)


def test_every_pinned_requirement_carries_a_hash() -> None:
    for name in ("runtime.txt", "build.txt"):
        lines = (ROOT / "requirements" / name).read_text().replace("\\\n", " ").splitlines()
        pinned = [line for line in lines if line and not line.lstrip().startswith("#")]
        assert pinned
        assert all(re.match(r"[a-z0-9._-]+(\[[a-z]+\])?==\S+\s.*--hash=sha256:", line) for line in pinned), name


def test_it_runs_as_a_numeric_user_that_is_not_root(steps: list[dict[str, str]]) -> None:
    (user,) = values(steps, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def test_it_ships_neither_pip_nor_sources(steps: list[dict[str, str]]) -> None:
    (run,) = values(steps, "RUN")
    assert "uninstall" in run
    assert {"pip", "setuptools", "wheel"} <= set(run.split())
    assert all(copy.startswith("--from=build ") for copy in values(steps, "COPY"))
    assert "--without-pip" in (ROOT / "Dockerfile").read_text()


def test_only_the_journal_is_writable(steps: list[dict[str, str]]) -> None:
    assert ['["/var/lib/extauthz"]'] == values(steps, "VOLUME")
    assert any("PYTHONDONTWRITEBYTECODE=1" in env for env in values(steps, "ENV"))


def test_signals_reach_the_server(steps: list[dict[str, str]]) -> None:
    """Exec form: no shell between the container runtime and SIGTERM's drain."""
    assert ['["/opt/extauthz/bin/extauthz"]'] == values(steps, "ENTRYPOINT")
    assert ['["serve", "--config", "/etc/extauthz/extauthz.yaml"]'] == values(steps, "CMD")
    assert ["SIGTERM"] == values(steps, "STOPSIGNAL")


def test_its_health_is_readiness_on_the_admin_port(steps: list[dict[str, str]]) -> None:
    (health,) = values(steps, "HEALTHCHECK")
    assert "CMD [" in health
    assert "http://127.0.0.1:9001/readyz" in health


def test_the_build_context_is_an_allow_list() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert "*" == lines[0]
    copied = {
        word.rstrip("/")
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_the_version_is_the_package_s() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()
