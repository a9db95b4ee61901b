"""What the demo starts: upstream, issuer, extauthz, Envoy; each is ended by the ExitStack it is given."""

import sys
from contextlib import ExitStack
from pathlib import Path

from extauthz.cli.demo_processes import Child, StartError, read_port

CHECKOUT = Path(__file__).parents[2]


def require_checkout() -> Path:
    """The checkout's root; raises StartError where only the wheel is installed."""
    if not (CHECKOUT / "deploy" / "demo" / "envoy.yaml").exists():
        message = f"the demo runs from a checkout: {CHECKOUT} has no deploy/demo (git clone, then `make demo`)"
        raise StartError(message)
    return CHECKOUT


def start_upstream(work: Path, stack: ExitStack) -> int:
    """The echoing upstream; its port."""
    ports = work / "upstream.port"
    child = _script("upstream", ["--ports-file", ports], work, stack)
    return child.await_ready(lambda: read_port(ports))


def _script(name: str, options: list[str | Path], work: Path, stack: ExitStack) -> Child:
    """Run `deploy/demo/<name>.py`."""
    script = require_checkout() / "deploy" / "demo" / f"{name}.py"
    (work / f"{name}.port").unlink(missing_ok=True)
    child = Child(name, [sys.executable, script, *options], work / f"{name}.log")
    stack.callback(child.stop)
    return child
