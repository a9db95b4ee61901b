"""What a journal record costs: alone, by part, from four threads, with both durabilities; and how fast it verifies.

Run: python loadtest/journal.py [DIRECTORY]   (the directory decides which disk is measured)
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from extauthz.journal import Journal, JournalIdentity, JournalOptions, verify
from extauthz.journal.chain import GENESIS, seal
from extauthz.journal.pseudonym import PeriodKey, Pseudonyms
from extauthz.journal.record import TimeText, decision_event
from extauthz.model.decision import Allow, Evidence
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Facts, Peer
from extauthz.model.subject import Subject
from extauthz.telemetry import Metrics, MetricsOptions

CALLERS = 1000


def records(count: int) -> list[DecisionRecord]:
    """Decisions about a thousand callers of ten tenants."""
    return [_record(number) for number in range(count)]


def _record(number: int) -> DecisionRecord:
    caller = number % CALLERS
    subject = Subject(
        issuer="https://keycloak.banking.test/realms/banking-system",
        id=f"6f0c2f5e-1b7a-4c7e-9a51-{caller:012d}",
        issuer_name="keycloak",
        client="teller-app",
        tenant=f"tenant-{caller % 10}",
        roles=("banking-officer",),
        token_id=f"onrtac:{caller:032x}",
        key_id="2026-11",
    )
    evidence = Evidence(
        subject=subject,
        profile="open-banking",
        tenant=subject.tenant,
        policy="customers",
        rule="officers-read",
        route="/api/customers/{customer}/accounts/**",
    )
    facts = Facts(
        request_id=f"17c1f2{number:08x}",
        method="GET",
        host="api.banking.test",
        source=Peer("10.0.0.7", 4711, "spiffe://cluster.local/ns/istio-system/sa/ingress"),
        client_address=f"203.0.113.{caller % 250}",
    )
    return DecisionRecord(
        decision_id=f"0190b2c4-7d1e-7cc0-8a3e-{number:012d}",
        interaction_id="c2a7b3a0-5d4e-4f1a-9d4e-0d3f5f0f8c11",
        interaction_id_source="client",
        time=time.time(),
        duration=0.0003,
        revision="2026-11-23.1",
        digest="ab" * 32,
        facts=facts,
        decision=Allow(evidence=evidence),
        status=200,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    )


def each(work: Callable[[DecisionRecord], object], given: list[DecisionRecord], rounds: int = 7) -> tuple[float, float]:
    """Microseconds a record: the best and the median of several rounds."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        for record in given:
            work(record)
        found.append((time.perf_counter() - started) / len(given) * 1e6)
    return min(found), statistics.median(found)


def threads(journal: Journal, given: list[DecisionRecord], count: int) -> float:
    """Records a second from several threads."""

    def work() -> None:
        for record in given:
            journal.record(record)

    running = [threading.Thread(target=work) for _ in range(count)]
    started = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return count * len(given) / (time.perf_counter() - started)


def main() -> None:
    """Print one line a figure."""
    where = sys.argv[1] if len(sys.argv) > 1 else None
    given = records(5000)
    names, text = Pseudonyms(PeriodKey("2024-01", b"k" * 32), b"u" * 32), TimeText()
    event = decision_event(given[0], names, text(given[0].time))
    line, _ = seal(1, text(given[0].time).encode(), event, GENESIS)
    print(f"one record has {len(line)} bytes")

    def show(what: str, work: Callable[[DecisionRecord], object]) -> None:
        best, median = each(work, given)
        print(f"{what:48} best {best:6.2f} us, median {median:6.2f} us")

    show("event: pseudonyms (callers come back) and JSON", lambda r: decision_event(r, names, text(r.time)))
    moment = text(given[0].time).encode()
    show("chain: SHA-256 and line", lambda _: seal(1, moment, event, GENESIS))
    for durability in ("process", "disk"):
        with tempfile.TemporaryDirectory(dir=where) as directory:
            options = JournalOptions(directory=directory, durability=durability)
            journal = Journal(options, JournalIdentity(instance="bench", boot="1"))
            few = given if durability == "process" else given[:200]
            best, median = each(journal.record, few)
            print(f"{f'record, one thread, {durability}':48} best {best:6.2f} us, median {median:6.2f} us")
            print(f"{f'record, four threads, {durability}':48} {threads(journal, few, 4):8.0f} records/s")
            if durability == "process":
                batches = [few[start : start + 16] for start in range(0, len(few), 16)]
                started = time.perf_counter()
                for batch in batches:
                    journal.record_all(batch)
                print(f"{'record_all, 16 at a time':48} {(time.perf_counter() - started) / len(few) * 1e6:11.2f} us")
            journal.close()
            started = time.perf_counter()
            report = verify(Path(directory))
            if durability == "process":
                print(
                    f"{'verify':48} {report.records / (time.perf_counter() - started):8.0f} records/s, ok={report.ok}"
                )
    metrics = Metrics(MetricsOptions())
    show("metrics: observe", metrics.observe)


if __name__ == "__main__":
    main()
