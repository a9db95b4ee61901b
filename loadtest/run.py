"""Start the demo's stack, load it with locust, judge it: `make load`, or `python loadtest/run.py --help`.

Writes an HTML report and the verdict as JSON below `loadtest/results/`; exits with 0 when the SLO was met, else 1.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from extauthz.cli.demo_stack import Stack, start_all
from extauthz.journal import verify

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main() -> int:
    """Parse, start, load, verify."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument(
        "--user", choices=["GatewayUser", "CheckUser"], default="GatewayUser", help="through Envoy, or gRPC"
    )
    cli.add_argument("--rate", type=float, default=200, help="requests a second (200)")
    cli.add_argument("--seconds", type=int, default=30, help="length of the run (30)")
    cli.add_argument("--slo-p99-ms", type=float, default=10.0, help="p99 that must hold at that rate (10)")
    options = cli.parse_args()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="extauthz-load-") as work, ExitStack() as stack:
        running = start_all(Path(work), stack, lambda text: print(text, flush=True))
        code = _locust(options, running)
        report = verify(running.server.journal)
        print(f"journal: {'intact' if report.ok else 'BROKEN'}, {report.records} records")
    return code if report.ok else 1


def _locust(options: argparse.Namespace, running: Stack) -> int:
    envoy, server = running.envoy.ports["inbound"], running.server.port
    name = f"{options.user}-{options.rate:g}rps-{time.strftime('%Y%m%d-%H%M%S')}"
    command = [
        *(sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--headless", "--only-summary"),
        *("-u", "1", "-t", f"{options.seconds}s", "--stop-timeout", "5"),
        *("--rate", str(options.rate), "--slo-p99-ms", str(options.slo_p99_ms)),
        *("--issuer", running.issuer.name, "--keys", str(running.issuer.keys)),
        *("--envoy", f"http://127.0.0.1:{envoy}", "--grpc", f"127.0.0.1:{server}"),
        *("--html", str(RESULTS / f"{name}.html"), "--result", str(RESULTS / f"{name}.json")),
        options.user,
    ]
    print(f"{options.seconds} s at {options.rate:g} requests a second, {options.user}", flush=True)
    code = subprocess.run(command, check=False, cwd=HERE).returncode  # noqa: S603 - our own command
    print(f"report: {RESULTS / name}.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
