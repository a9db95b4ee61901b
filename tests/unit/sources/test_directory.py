"""What of a directory becomes a bundle, and that it is all of one state."""

import os
import threading
from pathlib import Path

import pytest

from extauthz.bundle import BundleError
from extauthz.bundle.syntax import MAX_FILE_BYTES
from extauthz.sources import directory, load_directory
from extauthz.sources.directory import MAX_TOTAL_BYTES


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / f"{name.replace('__', '/')}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_directory(path)
    (finding,) = caught.value.findings
    return str(finding)


def test_yaml_and_json_files_below_the_directory_are_read(tmp_path: Path) -> None:
    write(tmp_path, bundle="1", policies__a="2")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.json").write_text("3")
    (tmp_path / "b.yml").write_text("4")
    assert load_directory(tmp_path) == {
        "bundle.yaml": b"1",
        "policies/a.yaml": b"2",
        "data/x.json": b"3",
        "b.yml": b"4",
    }


def test_hidden_and_foreign_files_are_no_part_of_it(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    for name in (".hidden.yaml", "README.md", "a.yaml~", "a.yaml.swp", "#a.yaml#"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "c.yaml").write_text("x")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert load_directory(tmp_path) == {"a.yaml": b"1"}


def test_a_config_map_is_read_through_its_data_link(tmp_path: Path) -> None:
    """Kubernetes mounts every key as a link to `..data/key`, and `..data` as a link to the state in force."""
    write(tmp_path / "..2026_01", bundle="1", data__x="2")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "bundle.yaml").symlink_to("..data/bundle.yaml")
    (tmp_path / "data").symlink_to("..data/data")
    assert load_directory(tmp_path) == {"bundle.yaml": b"1", "data/x.yaml": b"2"}


def test_git_syncs_link_is_followed(tmp_path: Path) -> None:
    write(tmp_path / ".worktrees" / "abc", bundle="1")
    (tmp_path / "current").symlink_to(".worktrees/abc")
    assert load_directory(tmp_path / "current") == {"bundle.yaml": b"1"}


def test_a_link_to_a_file_within_is_read(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    assert load_directory(tmp_path) == {"a.yaml": b"1", "b.yaml": b"1"}


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.yaml", "sub/../../outside.yaml"])
def test_no_link_leads_out(tmp_path: Path, target: str) -> None:
    write(tmp_path, outside="secret")
    (tmp_path / "bundle" / "sub").mkdir(parents=True)
    (tmp_path / "bundle" / "a.yaml").symlink_to(target)
    assert refusal(tmp_path / "bundle") == "a.yaml: a link that leads out of the bundle: copy the file into it"


@pytest.mark.parametrize("through", ["file", "folder"])
def test_a_link_that_is_put_in_a_files_place_while_it_is_read_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    """Between listing and reading somebody exchanges the file, or its directory, for a link that leads out."""
    outside, bundle = write(tmp_path / "outside", a="secret"), write(tmp_path / "bundle", sub__a="1")
    real_list, real_open, read = directory.list_files, os.open, []

    def lists_then_swaps(root: Path) -> directory.Listing:
        found = real_list(root)
        if not (bundle / "kept").exists():
            victim, target = (
                (bundle / "sub" / "a.yaml", outside / "a.yaml") if through == "file" else (bundle / "sub", outside)
            )
            victim.rename(bundle / "kept")
            victim.symlink_to(target)
        return found

    def watched(path: Path, *rest: int) -> int:
        read.append(Path(path).resolve())
        return real_open(path, *rest)

    monkeypatch.setattr(directory, "list_files", lists_then_swaps)
    monkeypatch.setattr(os, "open", watched)
    assert "a link that leads out of the bundle" in refusal(bundle)
    assert outside / "a.yaml" not in read


def test_another_file_that_takes_the_place_between_the_check_and_the_opening_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory on the way can be exchanged after every check of names; the file's identity cannot."""
    outside, bundle = write(tmp_path / "outside", a="secret"), write(tmp_path / "bundle", sub__a="1")
    real = os.open

    def swaps(path: Path, *rest: int) -> int:
        (bundle / "sub").rename(bundle / ".kept")
        (bundle / "sub").symlink_to(outside)
        try:
            return real(path, *rest)
        finally:
            (bundle / "sub").unlink()
            (bundle / ".kept").rename(bundle / "sub")
            monkeypatch.setattr(os, "open", real)

    monkeypatch.setattr(os, "open", swaps)
    assert load_directory(bundle) == {"sub/a.yaml": b"1"}


def test_no_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    write(tmp_path, bundle__a="1", other__b="2")
    (tmp_path / "bundle" / "more").symlink_to("../other")
    assert refusal(tmp_path / "bundle") == "more: a link to a directory: copy the directory into the bundle"


def test_the_data_link_does_not_lead_out_either(tmp_path: Path) -> None:
    write(tmp_path, other__a="1")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "..data").symlink_to("../other")
    assert refusal(tmp_path / "bundle") == f"{tmp_path}/bundle: `..data` leads out of the directory"


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("none.yaml")
    assert refusal(tmp_path) == "a.yaml: a link that leads nowhere: no such file or directory"
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    assert refusal(tmp_path) == "a.yaml: a link that leads nowhere: too many levels of symbolic links"


def test_what_is_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    write(tmp_path, file="1")
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path / "none") == f"{tmp_path}/none: the directory does not exist"
    assert refusal(tmp_path / "file.yaml") == f"{tmp_path}/file.yaml: not a directory: name the directory of a bundle"
    assert refusal(tmp_path / "loop").startswith(f"{tmp_path}/loop: the directory cannot be read: Symlink loop")


def test_sizes_are_capped_before_anything_is_read(tmp_path: Path) -> None:
    """T-66: sparse files, so that nobody has to write what nobody reads."""
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert refusal(tmp_path) == "big.yaml: the file has 16777217 bytes, at most 16777216 are read: split it"
    for number in range(MAX_TOTAL_BYTES // MAX_FILE_BYTES + 1):
        with (tmp_path / f"b{number}.yaml").open("wb") as file:
            file.truncate(MAX_FILE_BYTES)
    (tmp_path / "big.yaml").unlink()
    assert refusal(tmp_path) == f"b4.yaml: the bundle has more than {MAX_TOTAL_BYTES} bytes: split it"


def test_a_name_that_would_break_up_a_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a\nb.yaml").write_text("1")
    assert refusal(tmp_path) == "a\\nb.yaml: the file's name is not printable UTF-8: rename it"
    (tmp_path / "a\nb.yaml").unlink()
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("1")
    assert refusal(tmp_path).endswith(".yaml: the file's name is not printable UTF-8: rename it")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a="1")

    def refuse(*_: object) -> int:  # what the kernel says to a user who is not root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    assert refusal(tmp_path) == "a.yaml: the file cannot be read: permission denied"


def test_files_of_two_states_are_never_mixed(tmp_path: Path) -> None:
    """A writer replaces two files one after the other, all the time; every read sees equal ones or waits."""
    write(tmp_path, a="0", b="0")
    stop = threading.Event()

    def rewrite() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for name in ("a", "b"):
                (tmp_path / f".{name}.new").write_text(str(number))
                (tmp_path / f".{name}.new").replace(tmp_path / f"{name}.yaml")
            stop.wait(0.02)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(20):
            files = load_directory(tmp_path)
            assert int(files["a.yaml"]) - int(files["b.yaml"]) in {0, 1}, "one step at most: the state between the two"
    finally:
        stop.set()
        writer.join()


def test_a_config_map_swap_is_seen_whole(tmp_path: Path) -> None:
    """Both files come from the state before or the state after, though the link moves all the time."""
    for number in range(2):
        write(tmp_path / f"..{number}", a=str(number), b=str(number))
    (tmp_path / "..data").symlink_to("..0")
    stop = threading.Event()

    def swap() -> None:
        number = 0
        while not stop.is_set():
            number = 1 - number
            (tmp_path / "..tmp").symlink_to(f"..{number}")
            (tmp_path / "..tmp").replace(tmp_path / "..data")
            stop.wait(0.003)

    writer = threading.Thread(target=swap)
    writer.start()
    try:
        for _ in range(50):
            files = load_directory(tmp_path)
            assert files["a.yaml"] == files["b.yaml"]
    finally:
        stop.set()
        writer.join()
