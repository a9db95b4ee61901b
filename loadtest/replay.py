"""What `journal.replay: attributes` costs a Check, and how long a replay of its records takes.

A Check is all of `Handler.answer_all`, as in steps.py. Off and on are measured in turn, so that their ratio holds on
a busy machine, too; the microseconds are those of this machine at that moment. The records of the second half are
written by the example bank and held against the bank with one rule changed.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from click.testing import CliRunner
from points import BANK, BANK_CASES, Point, bank, questions, token
from steps import BATCH, CALLERS, freeze, run, warm

from extauthz.cli.bundle import command

CHANGED = ("[banking-manager, banking-admin]", "[banking-officer, banking-admin]")  # who may see loans


def cost(rounds: int) -> dict[str, dict[str, float]]:
    """By case: a Check without and with, microseconds and bytes of journal."""
    off, on = bank(), bank("attributes")
    found = {}
    for case in BANK_CASES:
        callers = [token(case, number) for number in range(CALLERS)]
        asked = questions(case, callers, 0, BATCH)
        warm(off, asked)
        warm(on, asked)
        freeze()
        pairs = []
        for number in range(rounds):  # other ids in the paths each time, so that nothing of them is known
            asked = questions(case, callers, (number + 1) * BATCH, BATCH)
            pairs.append((run(off, asked), run(on, asked)) if number % 2 else (run(on, asked), run(off, asked))[::-1])
        sizes = [_bytes(point, asked) for point in (off, on)]
        found[case.name] = {
            "off_us": median(pair[0] for pair in pairs),
            "on_us": median(pair[1] for pair in pairs),
            "ratio": median(with_it / without for without, with_it in pairs),
            "more_us": median(with_it - without for without, with_it in pairs),
            "off_bytes": sizes[0],
            "on_bytes": sizes[1],
        }
    off.close()
    on.close()
    return found


def _bytes(point: Point, asked: list[bytes]) -> float:
    before = point.journal.status()
    point.answer_all(asked)
    return (point.journal.status().bytes - before.bytes) / len(asked)


def replay(records: int, jobs: int) -> dict[str, float]:
    """Seconds of a whole `extauthz bundle replay`, and the memory of this process at its largest."""
    point = bank("attributes")
    made = 0
    for case in BANK_CASES:
        callers = [token(case, number) for number in range(CALLERS)]
        for raw in questions(case, callers, 0, CALLERS):
            point.answer(raw)  # verifies the token
        while made < records * (BANK_CASES.index(case) + 1) // len(BANK_CASES):
            made += point.answer_all(questions(case, callers, made, BATCH))
    point.journal.checkpoint()
    with TemporaryDirectory() as directory:
        other = Path(directory)
        for file in (path for path in BANK.rglob("*.*") if path.is_file() and "tests" not in path.parts):
            copy = other / file.relative_to(BANK)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        changed = other / "policies" / "staff.yaml"
        text = changed.read_text(encoding="utf-8")
        changed.write_text(text.replace(*CHANGED), encoding="utf-8")
        start = time.perf_counter()
        arguments = ["replay", "--against", directory, "--from", str(point.directory), "--json", "-j", str(jobs)]
        result = CliRunner().invoke(command, arguments)
        seconds = time.perf_counter() - start
    point.close()
    if result.exit_code > 1:
        sys.exit(result.output)
    report = json.loads(result.stdout)["report"]
    return {
        "records": report["decisions"],
        "seconds": seconds,
        "per_second": report["decisions"] / seconds,
        "changed": report["changed"],
        "unknown": report["unknown"],
        "jobs": jobs,
        "max_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=25)
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--no-cost", action="store_true", help="only the replay")
    options.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    given = options.parse_args()
    found: dict[str, object] = {}
    if not given.no_cost:
        found["cost"] = rows = cost(given.rounds)
        for name, row in rows.items():
            print(
                "{0:>14}  {off_us:6.2f} us off  {on_us:6.2f} us on  ratio {ratio:.3f}  {more_us:+.2f} us"
                "  {off_bytes:.0f} -> {on_bytes:.0f} bytes a record".format(name, **row)
            )
    if given.records:
        found["replay"] = row = replay(given.records, given.jobs)
        print(
            "{records:,} records in {seconds:.1f} s with {jobs} processes ({per_second:,.0f} a second), "
            "{changed:,} change, {unknown:,} unknown, at most {max_mib:.0f} MiB".format(**row)
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
