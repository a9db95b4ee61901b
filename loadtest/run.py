"""Start the demo's stack, load it with locust, judge it: `make load`, or `python -m loadtest.run --help`.

Writes an HTML report and the verdict as JSON below `loadtest/results/`; exits with 0 when the SLO was met, else 1.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from extauthz.cli.demo_stack import start_all
from extauthz.cli.demo_tokens import Minter
from extauthz.journal import verify
from loadtest import report, servers
from loadtest.locust_run import Locust, run
from loadtest.mix import Mix


def main() -> int:
    """Parse, start, load, verify."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument(
        "--user", choices=["GatewayUser", "CheckUser"], default="GatewayUser", help="through Envoy, or gRPC"
    )
    cli.add_argument("--rate", type=float, default=200, help="requests a second (200)")
    cli.add_argument("--seconds", type=int, default=30, help="length of the run (30)")
    cli.add_argument("--workers", type=int, default=0, help="processes of locust beside a master (0: just one)")
    cli.add_argument("--slo-p99-ms", type=float, default=10.0, help="p99 that must hold at that rate (10)")
    given = cli.parse_args()
    servers.RESULTS.mkdir(exist_ok=True)
    name = servers.RESULTS / f"{given.user}-{given.rate:g}rps-{time.strftime('%Y%m%d-%H%M%S')}"
    with tempfile.TemporaryDirectory(prefix="extauthz-load-") as work, ExitStack() as stack:
        running = start_all(Path(work), stack, report.say)
        report.say("minting the tokens of the mix")
        Mix(Minter(running.issuer)).save(Path(work) / "tokens.json")
        options: dict[str, str | float | Path] = {
            "slo-p99-ms": given.slo_p99_ms,
            "issuer": running.issuer.name,
            "keys": running.issuer.keys,
            "tokens": Path(work) / "tokens.json",
            "envoy": f"http://127.0.0.1:{running.envoy.ports['inbound']}",
            "grpc": f"127.0.0.1:{running.server.port}",
            "html": name.with_suffix(".html"),
        }
        locust = Locust(given.user, given.rate, given.seconds, options, given.workers)
        report.say(f"{given.seconds} s at {given.rate:g} requests a second, {given.user}, {given.workers} workers")
        code, verdict = run(locust, Path(work))
        verified = verify(running.server.journal)
        report.say(f"journal: {'intact' if verified.ok else 'BROKEN'}, {verified.records} records")
    name.with_suffix(".json").write_text(json.dumps(verdict, indent=1) + "\n")
    report.say(f"report: {name}.html")
    return code if verified.ok else 1


if __name__ == "__main__":
    sys.exit(main())
