"""Whether a worker stays as it is: memory, descriptors, threads, journal and latency over half an hour: `make soak`.

Checks come straight over gRPC at a constant rate: officers whose tokens come back and are replaced one by one, and
one in ten with a forged token, a new one each time. Every few seconds the server is looked at. What grows is found by
the slope of a straight line through the second part of the run (Theil and Sen: outliers do not tilt it).
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from msgspec import Struct

from extauthz.cli.demo_requests import OFFICER
from extauthz.cli.demo_stack import start_issuer
from extauthz.cli.demo_tokens import Minter
from extauthz.journal import verify
from loadtest import figures, phases, report, servers, soak_report
from loadtest.http2 import Question
from loadtest.openloop import Client, sharp_timers
from loadtest.questions import forged_question, grpc_headers, officer_question
from loadtest.servers import Target
from loadtest.tally import Tally

CALLERS = 2000
EVERY_FORGED = 10
RENEWALS = 10.0  # tokens a second
CACHED = 3000  # tokens: renewed ones push old ones out several times in half an hour
SEGMENT_BYTES, SEGMENTS = 16 << 20, 3  # of the journal: removed and written anew all the time
WARM_UP = 0.25  # of the run: caches fill, the allocator finds its size
TIMEOUT = 1.0
# What may grow from the end of the warm-up to the end, as a share; and how much is no growth at all.
TOLERANCE = {"rss_mb": 0.05, "descriptors": 0.05, "threads": 0.0, "p50_ms": 0.30, "journal_bytes_per_record": 0.02}
NOTHING = {"rss_mb": 3.0, "descriptors": 3.0, "threads": 0.5, "p50_ms": 0.5, "journal_bytes_per_record": 5.0}
MOST_MB = 120.0
# The segment that is written to, those that are kept, and room for keys and checkpoints.
MOST_JOURNAL_MB = SEGMENT_BYTES * (SEGMENTS + 1.2) / 1e6
SETTINGS = (
    f"tokens.cacheEntries={CACHED}",
    f"journal.segmentBytes={SEGMENT_BYTES}",
    f"journal.keepSegments={SEGMENTS}",
)
EXPECTED = ("200 policy_allowed", "401 token_signature_invalid")


class Look(Struct):
    """The server at one moment."""

    at: float  # seconds since the start
    rss_mb: float
    descriptors: int
    threads: int
    journal_mb: float
    records: float
    journal_bytes_per_record: float
    p50_ms: float
    p99_ms: float
    answered: int
    wrong: int
    wrong_by_kind: dict[str, int]


class Callers:
    """Questions without end; a thread replaces the tokens, so that signing delays no Check."""

    def __init__(self, minter: Minter, callers: int) -> None:
        self._minter = minter
        self._tokens = [self._mint(number) for number in range(callers)]
        self._next, self._ended = callers, Event()
        self._thread = Thread(target=self._renew, name="minting", daemon=True)

    def _mint(self, number: int) -> str:
        return self._minter.mint(OFFICER.claims | {"sub": f"officer-{number:06}"})

    def _renew(self) -> None:
        while not self._ended.wait(1 / RENEWALS):
            self._tokens[self._next % len(self._tokens)] = self._mint(self._next % len(self._tokens))
            self._next += 1

    def start(self) -> None:
        """Begin to replace tokens."""
        self._thread.start()

    def stop(self) -> None:
        """End that."""
        self._ended.set()
        self._thread.join()

    def questions(self) -> Iterator[Question]:
        """One after the other."""
        number = 0
        while True:
            token = self._tokens[number % len(self._tokens)]
            number += 1
            yield forged_question(number, token) if number % EVERY_FORGED == 0 else officer_question(number, token)


def look(target: Target, at: float, tally: Tally) -> Look:
    """What the operating system and the server itself say."""
    running = servers.processes(target.pid)
    directory = target.journal or Path()
    own = ("journal",)
    records = servers.counters(target, "extauthz_journal_records_total", "sink").get(own, 0.0)
    written = servers.counters(target, "extauthz_journal_bytes", "sink").get(own, 0.0)
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    latencies = [latency for _, latency, _ in tally.timeline]
    wrong = {name: count for name, count in tally.outcomes.items() if name not in EXPECTED}
    found = figures.latency_ms(latencies)
    return Look(
        at=round(at, 1),
        rss_mb=round(sum(each.memory_info().rss for each in running) / 1e6, 2),
        descriptors=sum(each.num_fds() for each in running),
        threads=sum(each.num_threads() for each in running),
        journal_mb=round(size / 1e6, 2),
        records=records,
        journal_bytes_per_record=round(written / max(1.0, records), 1),
        p50_ms=found["p50"],
        p99_ms=found["p99"],
        answered=len(latencies),
        wrong=sum(wrong.values()),
        wrong_by_kind=wrong,
    )


def run(target: Target, callers: Callers, rate: float, seconds: float, interval: float) -> list[Look]:
    """Load, and look every `interval` seconds."""
    looks: list[Look] = []
    client = Client(target.address, grpc_headers(TIMEOUT), connections=2, timeout=TIMEOUT)
    start, tally = monotonic(), Tally()
    try:
        for answers in client.open_loop(
            phases.rates([(rate, interval)] * round(seconds / interval)), callers.questions()
        ):
            tally.add(answers)
            at = monotonic() - start
            if at >= (len(looks) + 1) * interval:
                looks.append(look(target, at, tally))
                tally = Tally()
                last = looks[-1]
                report.say(
                    f"{at:6.0f} s: {last.rss_mb:.1f} MB, {last.descriptors} descriptors, {last.threads} threads,"
                    f" journal {last.journal_mb:.1f} MB, p50 {last.p50_ms:.2f} ms, p99 {last.p99_ms:.2f} ms,"
                    f" {last.wrong} wrong of {last.answered}"
                )
    finally:
        client.close()
    return looks


def trends(looks: Sequence[Look]) -> dict[str, figures.Trend]:
    """Of each figure, after the warm-up."""
    counted = [each for each in looks if each.at >= WARM_UP * looks[-1].at]
    at = [each.at for each in counted]
    return {name: figures.trend(at, [float(getattr(each, name)) for each in counted]) for name in TOLERANCE}


def judge(looks: Sequence[Look]) -> list[str]:
    """One line for whatever is not flat."""
    if len(looks) < 4:  # noqa: PLR2004 - a line needs points
        return ["too short to judge: at least four looks are needed"]
    missed = []
    for name, found in trends(looks).items():
        grown = found.growth * found.start
        if found.growth > TOLERANCE[name] and grown > NOTHING[name]:
            missed.append(
                f"{name} grows by {found.growth:.1%} ({found.start:.1f} to {found.start + grown:.1f}),"
                f" {TOLERANCE[name]:.0%} is allowed"
            )
    if (most := max(each.rss_mb for each in looks)) > MOST_MB:
        missed.append(f"the server took up to {most:.0f} MB, {MOST_MB:.0f} is the limit")
    if (most := max(each.journal_mb for each in looks)) > MOST_JOURNAL_MB:
        missed.append(f"the journal took up to {most:.0f} MB, its retention allows {MOST_JOURNAL_MB:.0f}")
    wrong = sum((Counter(each.wrong_by_kind) for each in looks), Counter[str]())
    if wrong:
        answered = sum(each.answered for each in looks)
        missed.append(f"{wrong.total()} of {answered} answers were not the expected ones: {dict(wrong)}")
    return missed


def main() -> int:
    """Load, look, judge: 1 when something is not flat."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--seconds", type=float, default=1800.0, help="length of the run (1800)")
    cli.add_argument("--rate", type=float, default=500.0, help="Checks a second (500)")
    cli.add_argument("--interval", type=float, default=0.0, help="seconds between two looks (a sixtieth of the run)")
    cli.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="server setting")
    given = cli.parse_args()
    interval = given.interval or max(1.0, given.seconds / 60)
    sharp_timers()
    with tempfile.TemporaryDirectory(prefix="extauthz-soak-") as name, ExitStack() as stack:
        work = Path(name)
        report.say("starting the issuer and extauthz with examples/banking")
        issuer = start_issuer(work, stack)
        target = servers.start_extauthz(work, stack, issuer, (*SETTINGS, *given.set))
        callers = Callers(Minter(issuer), CALLERS)
        callers.start()
        stack.callback(callers.stop)
        with phases.quiet(None):
            looks = run(target, callers, given.rate, given.seconds, interval)
        transport = servers.transport_kind(target)
        verified = verify(target.journal or work)
    missed = judge(looks)
    if not verified.ok:
        missed.append("the journal does not verify")
    found = {name: each._asdict() for name, each in trends(looks).items()} if looks else {}
    result = {
        "flat": not missed,
        "missed": missed,
        "trends": found,
        "tolerance": TOLERANCE,
        "rate": given.rate,
        "seconds": given.seconds,
        "transport": transport,
        "records_verified": verified.records,
        "looks": [{name: getattr(each, name) for name in each.__struct_fields__} for each in looks],
        "environment": report.environment(),
    }
    report.say_files(soak_report.write(result))
    for line in missed:
        report.say(f"MISSED: {line}")
    if not missed:
        report.say("flat")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
