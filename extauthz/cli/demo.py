"""`extauthz demo`: the server behind a real Envoy, sample requests, then time to try by hand."""

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import click

from extauthz.cli import ExitCode
from extauthz.cli.demo_processes import StartError
from extauthz.cli.demo_requests import ASKS, HOST, MANAGER
from extauthz.cli.demo_run import Outcome, run
from extauthz.cli.demo_stack import Stack, require_checkout, start_all
from extauthz.cli.demo_tokens import AUDIENCE, LIFETIME, Minter
from extauthz.journal import verify

BIN = Path(sys.argv[0])  # the command as it was called, to be copied from the output

EPILOG = """\b
Examples:
  extauthz demo            run until Ctrl-C
  extauthz demo --check    the same requests, then exit with 0 if all came out as they must, else 1

\b
Everything listens on 127.0.0.1, on free ports. Logs, journal and keys of each run are in a folder below .demo/.

\b
Exit codes: 0 all as expected, 1 an outcome differs or a process ended, 4 something could not be started.
"""


@click.command(epilog=EPILOG)
@click.option("--check", is_flag=True, help="Exit after the requests: 0 when all came out as they must, else 1.")
def command(check: bool) -> None:  # noqa: FBT001 - click passes flags as booleans
    """Run extauthz with examples/banking behind a real Envoy and show what it decides."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            passed = _demo(stack, check=check)
            click.echo("ending all processes")
    except StartError as error:
        click.echo(f"extauthz: {error}", err=True)
        sys.exit(ExitCode.RESOURCE)
    except KeyboardInterrupt:
        click.echo("ended")
        sys.exit(ExitCode.FAILED if check else ExitCode.OK)
    sys.exit(ExitCode.OK if passed else ExitCode.FAILED)


def _demo(stack: ExitStack, *, check: bool) -> bool:
    """Whether all came out as it must, and stayed up until it was told to end."""
    began = time.monotonic()
    folder = require_checkout() / ".demo"
    folder.mkdir(exist_ok=True)
    work = _near(Path(tempfile.mkdtemp(prefix=time.strftime("%H%M%S-"), dir=folder)))
    running = start_all(work, stack, lambda text: click.echo(f"[{time.monotonic() - began:4.1f} s] {text}"))
    minter = Minter(running.issuer)
    click.echo(f"[{time.monotonic() - began:4.1f} s] sending {len(ASKS)} requests through Envoy\n")
    outcomes = run(ASKS, running, minter)
    _print_table(outcomes)
    intact = _print_summary(outcomes, running)
    passed = intact and not any(outcome.faults for outcome in outcomes)
    if check:
        return passed
    _print_invitation(running, minter)
    return _stay(running) and passed


def _near(folder: Path) -> Path:
    """As short as can be typed from here."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _print_table(outcomes: list[Outcome]) -> None:
    names = max(len(outcome.ask.name) for outcome in outcomes)
    reasons = max(len(outcome.ask.reason) for outcome in outcomes)
    expected = f"{'expected':{reasons + 4}}"
    click.secho(f"     {'request':{names}}  {expected}  HTTP  {'reason':{reasons}}  {'ms':>6}  decision id", bold=True)
    for outcome in outcomes:
        ask = outcome.ask
        mark = click.style("DIFF", fg="red") if outcome.faults else click.style("ok  ", fg="green")
        click.echo(
            f"{mark} {ask.name:{names}}  {ask.status} {ask.reason:{reasons}}  {outcome.status:4}  "
            f"{outcome.reason:{reasons}}  {outcome.milliseconds:6.1f}  {outcome.decision_id}"
        )
        if outcome.explanation:
            click.secho(f"      {outcome.explanation}", dim=True)
        for fault in outcome.faults:
            click.secho(f"      {fault}", fg="red")


def _print_summary(outcomes: list[Outcome], running: Stack) -> bool:
    """How many came out as they must; whether the journal is intact."""
    wrong = sum(bool(outcome.faults) for outcome in outcomes)
    report = verify(running.server.journal)
    click.echo(f"\n{len(outcomes) - wrong} of {len(outcomes)} came out as they must")
    state = "intact" if report.ok else f"BROKEN, {report.findings[0]}"
    click.echo(f"the journal is {state}: {report.records} records in {running.server.journal}")
    return report.ok


def _print_invitation(running: Stack, minter: Minter) -> None:
    url = f"http://127.0.0.1:{running.envoy.ports['inbound']}"
    work = running.access_log.parent
    click.secho("\nTry it", bold=True)
    click.echo(
        f"  curl -i {url}/api/loans/l-17 -H 'host: {HOST}' -H 'authorization: Bearer {minter.mint(MANAGER.claims)}'"
    )
    click.echo(f"  (a banking-manager of acme, good for {LIFETIME // 60} minutes)\n")
    rows = {
        "Envoy": url,
        "Envoy's admin": running.envoy.admin,
        "extauthz": f"127.0.0.1:{running.server.port} (gRPC)",
        "status": f"{running.server.admin}/",
        "metrics": f"{running.server.admin}/metrics",
        "upstream": f"http://127.0.0.1:{running.upstream_port}",
        "issuer": running.issuer.name,
        "bundle": f"{work / 'bundle'} (edit it: it is loaded again by itself)",
        "journal": running.server.journal,
        "access log": running.access_log,
        "other logs": work,
    }
    for name, value in rows.items():
        click.echo(f"  {name:14} {value}")
    click.echo(f"\n  {BIN} audit verify {running.server.journal}")
    click.echo(
        f"  {BIN} token mint --key {running.issuer.keys / 'key.pem'} --issuer {running.issuer.name} "
        f"--audience {AUDIENCE} --subject alice --tenant globex --role banking-officer"
    )
    click.secho("\nCtrl-C ends it", bold=True)


def _stay(running: Stack) -> bool:
    """Until Ctrl-C; False when a process ended by itself."""
    while True:
        for child in running.children:
            if (status := child.process.poll()) is not None:
                click.echo(f"extauthz: {child.name} ended with status {status}, see {child.log}", err=True)
                return False
        time.sleep(0.5)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
