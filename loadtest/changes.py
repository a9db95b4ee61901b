"""1,000 activations, 50 rollbacks and 20 freezes under 1,000 requests a second through a real Envoy: `make changes`.

No request may fail, and none may be decided by a mix of revisions: each line of Envoy's access log (answer, headers and
dynamic metadata) must fit the rules of the one revision that it names, and the journal's record of that decision.
Latency counts from when a request was due. Everything shares this machine's cores, the client included.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from msgspec.structs import asdict

from extauthz.cli.demo_envoy import Envoy, endpoints, render_config
from extauthz.cli.demo_requests import OFFICER
from extauthz.cli.demo_stack import CHECKOUT, EXAMPLE_ISSUER, start_issuer, start_server
from extauthz.cli.demo_tokens import Minter
from loadtest import report, servers
from loadtest.changer import Changer, Plan, Span
from loadtest.figures import latency_ms
from loadtest.gateway import upstream_config
from loadtest.header_blocks import literal
from loadtest.http2 import Answer, Question
from loadtest.openloop import Client, poisson, sharp_timers
from loadtest.revisions import FREEZABLE, HOST, Line, Site, log_more, wrong_with

P99_MS = 10.0  # of a request with ext_authz, as in `make slo`
CALLERS = 50
TIMEOUT = 2.0
PATHS = ("/parity/0", "/parity/1", "/parity/0", "/parity/1", FREEZABLE)
Say = Callable[[str], None]
_SHOWN = 20
_DECIDED = {200, 403}
_SETTINGS = ("bundle.pollSeconds=0.1", "bundle.keep=4")


def run(plan: Plan, work: Path, say: Say = report.say, settings: Sequence[str] = ()) -> dict[str, Any]:
    """The whole of it, below `work`: what happened, and what was missed. `settings` are more for the server."""
    with ExitStack() as stack:
        issuer = start_issuer(work, stack)
        text = (CHECKOUT / "examples" / "banking" / "issuers.yaml").read_text(encoding="utf-8")
        site = Site(work / "site", text.replace(EXAMPLE_ISSUER, issuer.base))
        site.publish(0)
        control = work / "control.sock"
        own = {
            "bundle.stateDirectory": work / "state",
            "admin.controlSocket": control,
            "revocations.file": work / "revoked",
        }
        given = [*_SETTINGS, *(f"{key}={value}" for key, value in own.items()), *settings]
        server = start_server(work, stack, site.current, given)
        upstream = Envoy(upstream_config(), work, "upstream")
        stack.callback(upstream.stop)
        values = {
            "listen_port": 0,
            "upstream_port": upstream.ports["upstream"],
            "authz_endpoints": endpoints(server.ports),
            "access_log": work / "access.log",
        }
        envoy = Envoy(log_more(render_config(CHECKOUT / "deploy" / "demo" / "envoy.yaml", values)), work)
        stack.callback(envoy.stop)
        gateway = ("127.0.0.1", envoy.ports["inbound"])
        minter = Minter(issuer)
        tokens = [minter.mint({**OFFICER.claims, "sub": f"officer-{number}"}) for number in range(CALLERS)]
        changer = Changer(plan, site, str(control), gateway, tokens[0])
        answers = _drive(plan, gateway, tokens, changer, say)
        pids = {"extauthz": server.child.pid, "envoy": envoy.child.pid}
        used = {name: round(servers.cpu_seconds(pid), 2) for name, pid in pids.items()}
    return _result(plan, answers, changer, work, used)


def _drive(plan: Plan, gateway: tuple[str, int], tokens: Sequence[str], changer: Changer, say: Say) -> list[Answer]:
    constant = ((":method", "GET"), (":scheme", "http"), (":authority", HOST))
    client = Client(gateway, constant, connections=4, timeout=TIMEOUT, read_status=True)
    questions = cycle(
        [
            Question(literal(((":path", path), ("authorization", f"Bearer {token}"))), b"", path)
            for token in tokens
            for path in PATHS
        ]
    )
    sharp_timers()
    # Tokens that are new wait for their signature's turn, and are decided by what was in force when they came.
    found = [answer for answers in client.closed_loop(2, len(tokens) * len(PATHS), questions) for answer in answers]
    warm = len(found)
    changer.start()
    said = 0
    for answers in client.open_loop(_until_done(plan.rate, changer), questions):
        found += answers
        if len(changer.activations) >= said + 50:
            said = len(changer.activations)
            done = f"{said} activations, {len(changer.rollbacks)} rollbacks, {len(changer.freezes)} freezes"
            say(f"{done}, {len(found)} answers")
    client.close()
    return found[warm:]


def _until_done(rate: float, changer: Changer) -> Iterator[float]:
    for due in poisson(rate, float("inf")):
        if changer.done.is_set():
            return
        yield due


def _result(plan: Plan, answers: list[Answer], changer: Changer, work: Path, used: dict[str, float]) -> dict[str, Any]:
    lines = list(_read_log(work / "access.log"))
    decided = [line for line in lines if line.response_code in _DECIDED]  # what was not counts as failed
    wrong = Counter(found for line in decided if (found := wrong_with(line)))
    unlike, order = _compare_with_journal(decided, work / "journal")
    statuses = Counter(answer.kind for answer in answers)
    result: dict[str, Any] = {
        "environment": report.environment(),
        "plan": asdict(plan),
        "requests": len(answers),
        "statuses": {str(status): count for status, count in statuses.items()},
        "latency_ms": latency_ms([answer.ended - answer.due for answer in answers if answer.kind > 0]),
        "activation_seconds": _spread(changer.activations),
        "rollback_seconds": _spread(changer.rollbacks),
        "freeze_seconds": _spread(changer.freezes),
        "end_seconds": _spread(changer.ends),
        "lines": len(lines),
        "lines_without_a_decision": len(lines) - len(decided),
        "revisions_that_decided": len({line.revision for line in decided}),
        "mixed": dict(wrong.most_common(_SHOWN)),
        "unlike_the_journal": unlike[:_SHOWN],
        "out_of_order": _out_of_order(order, changer.order),
        "outlived_a_freeze": _outlived(answers, changer.frozen, 403) + _outlived(answers, changer.thawed, 200),
        "problems": changer.problems,
        "own_requests_refused": changer.refused,
        "cpu_seconds": used,
    }
    return {**result, "missed": judge(result)}


def _read_log(file: Path) -> Iterator[Line]:
    decoder = msgspec.json.Decoder(Line)
    with file.open("rb") as stream:
        for line in stream:
            yield decoder.decode(line)


def _compare_with_journal(lines: Iterable[Line], journal: Path) -> tuple[list[str], list[int]]:
    """Answers that the journal tells otherwise, and the revisions in the order in which they decided."""
    recorded: dict[str, tuple[str, str, str]] = {}
    order: list[int] = []
    for file in sorted(journal.glob("segment-*.ndjson")):
        with file.open("rb") as stream:
            for line in stream:
                found = json.loads(line)["event"].get("decision")
                if found is None:
                    continue
                revision = sys.intern(found["revision"])
                recorded[found["decision_id"]] = (
                    revision,
                    sys.intern(found["reason"]),
                    sys.intern(found.get("rule", "")),
                )
                number = int(revision.removeprefix("change-"))
                if not order or order[-1] != number:
                    order.append(number)
    told = ((line, (line.revision, line.reason, line.rule or "")) for line in lines)
    unlike = [
        f"{line.path}: answered by {said}, recorded {recorded.get(line.decision_id or '')}"
        for line, said in told
        if recorded.get(line.decision_id or "") != said
    ]
    return unlike, order


def _out_of_order(found: Sequence[int], expected: Sequence[int]) -> str:
    """Revisions decide in the order in which they came into force, each for one stretch of time; "" when they did."""
    left = iter(expected)
    for place, number in enumerate(found):
        if number not in left:
            return f"revision {number} decides again after {list(found[max(0, place - 3) : place])}"
    return ""


def _outlived(answers: Iterable[Answer], spans: Sequence[Span], expected: int) -> int:
    """Requests that were due and answered within a span, and did not get what they should."""
    asked = [answer for answer in answers if answer.question.label == FREEZABLE and answer.kind in _DECIDED]
    return sum(
        answer.kind != expected
        for span in spans
        for answer in asked
        if span.begin < answer.due and answer.ended < span.end
    )


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {"count": 0}
    return {"count": len(seconds), "median": round(median(seconds), 4), "maximum": round(max(seconds), 4)}


def judge(result: dict[str, Any]) -> list[str]:
    """What was missed, but for latency, which depends on the machine."""
    plan, missed = result["plan"], list(result["problems"])
    failed = {status: count for status, count in result["statuses"].items() if status not in {"200", "403"}}
    if failed:
        missed.append(f"requests failed: {failed}")
    if result["own_requests_refused"]:
        missed.append(f"{result['own_requests_refused']} requests of the one who changes failed")
    if not result["statuses"].get("200") or not result["statuses"].get("403"):
        missed.append("requests were not both let pass and refused")
    for name, wanted in (("activation", "activations"), ("rollback", "rollbacks"), ("freeze", "freezes")):
        if result[f"{name}_seconds"]["count"] != plan[wanted]:
            missed.append(f"{result[f'{name}_seconds']['count']} of {plan[wanted]} {wanted} were made")
    if result["lines"] < result["requests"]:
        missed.append(f"the access log has {result['lines']} lines for {result['requests']} requests")
    names = ("mixed", "unlike_the_journal", "out_of_order", "outlived_a_freeze")
    return missed + [f"{name.replace('_', ' ')}: {result[name]}" for name in names if result[name]]


def main() -> int:
    """Measure, write, judge; 1 when something was missed."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--rate", type=float, default=1000.0, help="requests a second (1000)")
    cli.add_argument("--activations", type=int, default=1000, help="(1000)")
    cli.add_argument("--rollbacks", type=int, default=50, help="(50)")
    cli.add_argument("--freezes", type=int, default=20, help="(20)")
    cli.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="server setting")
    given = cli.parse_args()
    plan = Plan(rate=given.rate, activations=given.activations, rollbacks=given.rollbacks, freezes=given.freezes)
    with tempfile.TemporaryDirectory(prefix="extauthz-changes-") as name:
        result = run(plan, Path(name), settings=given.set)
    p99 = result["latency_ms"].get("p99", float("inf"))
    if p99 >= P99_MS:
        result["missed"].append(f"p99 through Envoy is {p99:.2f} ms, the limit is {P99_MS:g} ms")
    rows = [
        (what, result[key]["count"], result[key].get("median"), result[key].get("maximum"))
        for what, key in (
            ("from the changed link to the first answer by it", "activation_seconds"),
            ("order to roll back", "rollback_seconds"),
            ("order to freeze", "freeze_seconds"),
            ("order to end it", "end_seconds"),
        )
    ]
    tables = [
        report.Table("Seconds", ("what", "how many", "median", "most"), rows),
        report.Table("Latency through Envoy, ms", ("", ""), list(result["latency_ms"].items())),
        report.Table("Measured on", ("", ""), list(result["environment"].items())),
    ]
    report.say_files(report.write(servers.RESULTS, "changes", result, {}, tables, result["missed"]))
    for row in rows:
        report.say(f"{row[0]}: {row[1]}, median {row[2]} s, most {row[3]} s")
    report.say(f"{result['requests']} requests: {result['statuses']}, {result['latency_ms']}")
    for line in result["missed"]:
        report.say(f"MISSED: {line}")
    return int(bool(result["missed"]))


if __name__ == "__main__":
    sys.exit(main())
