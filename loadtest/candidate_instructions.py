"""How many instructions a Check takes beside a candidate, by valgrind's callgrind: the same on a busy machine.

A Check is `Handler.answer` over the example bank with cached tokens, in one process without a server, and then what the
candidate does in spare time. The server's own work for a call is not in it, so that the ratios are higher than those
of processor time.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from loadtest import instructions, report
from loadtest.instructions import CHECKS, NOTHING

REFUSE = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: refuse-everything}
spec:
  effect: deny
  rules:
  - name: all
    from: [{principals: ['*']}, {roles: ['*']}]
"""
# Another bundle that decides alike.
ALIKE = REFUSE.replace("effect: deny", "effect: deny\n  match: {hosts: [nowhere.test]}")


def inner() -> None:
    """Runs below valgrind, which counts nothing until told."""
    from extauthz.beside import Beside, BesideOptions  # noqa: PLC0415 - only here are they needed
    from extauthz.bundle import read_bundle  # noqa: PLC0415
    from extauthz.model.ports import NoTokenCache  # noqa: PLC0415
    from extauthz.sources import Live  # noqa: PLC0415
    from extauthz.wire import settle  # noqa: PLC0415
    from loadtest.points import BANK, BANK_CASES, OUTBOUND, bank, questions, token  # noqa: PLC0415

    point = bank()
    settled = partial(settle, options=OUTBOUND)
    files = {str(path.relative_to(BANK)): path.read_bytes() for path in sorted(BANK.rglob("*.*")) if path.is_file()}

    def beside(policy: str, sample: float) -> Beside:
        built = read_bundle({**files, "policies/of-the-candidate.yaml": policy.encode()}, NoTokenCache())
        held = Live()
        held.activate(built.snapshot, built.issuers)
        return Beside(point.live, held, BesideOptions(sample, 1e6), settled, point.journal, point.metrics)

    # Of the smallest sample there is, practically nothing is compared: what every Check pays.
    modes = {"none": None, "unsampled": beside(ALIKE, 1e-6), "all": beside(ALIKE, 1.0), "refusing": beside(REFUSE, 1.0)}

    def run(mode: Beside | None, asked: Sequence[bytes]) -> None:
        point.handler.beside = mode
        for raw in asked:
            point.answer(raw)
            while mode is not None and mode.is_there:  # as the transport does
                mode.do()
        while mode is not None and mode.sweep():
            pass

    kinds: dict[str, Callable[[], object]] = {NOTHING: lambda: None}
    for case in BANK_CASES[:1]:  # a rule by role: the cheapest, so that what is fixed shows most
        credentials = [token(case, number) for number in range(4)]
        for name, mode in modes.items():
            warm, asked = (questions(case, credentials, first, CHECKS) for first in (0, CHECKS))
            run(mode, warm)
            kinds[f"{case.name}/{name}"] = partial(run, mode, asked)
    instructions.dump(kinds)
    point.close()


def count() -> dict[str, dict[str, int]]:
    """Instructions of a Check, by case and by what stands beside it."""
    counted: dict[str, dict[str, int]] = {}
    for name, total in instructions.count("loadtest.candidate_instructions").items():
        case, _, mode = name.rpartition("/")
        counted.setdefault(case, {})[mode] = total // CHECKS
    return counted


def main() -> int:
    """Count and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    if options.parse_args().inner:
        inner()
        return 0
    if not instructions.available():
        report.say(instructions.INSTALL)
        return 0
    for case, modes in sorted(count().items()):
        base = modes["none"]
        ratios = ", ".join(f"{name} {modes[name] / base:.3f}" for name in ("unsampled", "all", "refusing"))
        report.say(f"{case:14} {base:7} instructions a Check; {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
