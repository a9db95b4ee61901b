"""`extauthz bundle test --mutate`: change the bundle in every way that matters, and say what no case notices."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import click
from msgspec import Struct

from extauthz.bundle.mutants import Mutant
from extauthz.bundle.mutation import Fate, Mutation
from extauthz.cli.bundle_jobs import Files, processes, spread

_MUTANTS_WORTH_A_PROCESS = 200  # a process takes about as long to start as so many mutants
_PROGRESS_SECONDS = 1.0
_FULL = 100


class Score(Struct, frozen=True):
    """How a bundle's cases did against its mutants."""

    fates: list[tuple[Mutant, Fate]]
    not_run: int  # for want of time
    seconds: float

    def count(self, outcome: str) -> int:
        """How many ended so."""
        return sum(fate.outcome == outcome for _, fate in self.fates)

    @property
    def percent(self) -> int:
        """Of the mutants that were tried and compile, how many were noticed; rounded down."""
        tried = self.count("killed") + self.count("survived")
        return _FULL * self.count("killed") // tried if tried else _FULL

    @property
    def survivors(self) -> list[Mutant]:
        """The mutants that no case noticed."""
        return [mutant for mutant, fate in self.fates if fate.outcome == "survived"]


def mutate(files: Files, jobs: int, max_seconds: int) -> Score:
    """Try every mutant, as long as there is time."""
    began = time.monotonic()
    mutation = Mutation(files)
    count = len(mutation.mutants)
    jobs = processes(jobs, count, _MUTANTS_WORTH_A_PROCESS)
    progress = _Progress(count)
    fates: dict[int, Fate] = {}
    # A long step apart, so that a run that is cut short has seen something of every document.
    numbers = [number for start in range(_step(count)) for number in range(start, count, _step(count))]
    start = (lambda _: mutation) if jobs == 1 else Mutation
    for number, fate in spread(files, start, _try, numbers, jobs, lambda: time.monotonic() - began < max_seconds):
        fates[number] = fate
        progress.show(fates)
    progress.end()
    done = [(mutation.mutants[number], fates[number]) for number in sorted(fates)]
    return Score(done, count - len(done), time.monotonic() - began)


def _try(mutation: Mutation, number: int) -> Fate:
    return mutation.run(number)


def _step(count: int) -> int:
    return max(1, count // 50)


class _Progress:
    """A line on stderr that is written over at a terminal; elsewhere a line now and then."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._is_terminal = sys.stderr.isatty()
        self._next = time.monotonic() + _PROGRESS_SECONDS

    def show(self, fates: dict[int, Fate]) -> None:
        """Say how far it is, at most once a second."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (_PROGRESS_SECONDS if self._is_terminal else 10 * _PROGRESS_SECONDS)
        survived = sum(fate.outcome == "survived" for fate in fates.values())
        line = f"mutants: {len(fates)} of {self._count}, {survived} survive"
        click.echo(f"\r{line}" if self._is_terminal else line, err=True, nl=not self._is_terminal)

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            click.echo("\r\033[K", err=True, nl=False)


def print_score(score: Score) -> None:
    """The survivors, each with what would kill it, and the score."""
    for mutant in score.survivors:
        where = f"{mutant.file}:{mutant.line}"
        click.echo(f"{click.style('survives', fg='yellow')}  {where}: {mutant.subject}: {mutant.change.what}")
        click.echo(f"          would be killed by {mutant.change.kill}")
    refused = score.count("refused")
    line = f"{score.count('killed')} of {score.count('killed') + score.count('survived')} mutants are noticed"
    if refused:
        line += f", {refused} more do not compile"
    if score.not_run:
        line += f", {score.not_run} were not tried within the time given"
    click.echo(f"{line}: score {score.percent} %")


def as_json(score: Score) -> dict[str, Any]:
    """Everything, with file and line."""
    return {
        "score": score.percent,
        "killed": score.count("killed"),
        "survived": score.count("survived"),
        "refused": score.count("refused"),
        "notRun": score.not_run,
        "seconds": round(score.seconds, 3),
        "mutants": list(_listed(score)),
    }


def _listed(score: Score) -> Iterator[dict[str, Any]]:
    for mutant, fate in score.fates:
        yield {
            "operator": mutant.change.operator,
            "file": mutant.file,
            "line": mutant.line,
            "subject": mutant.subject,
            "what": mutant.change.what,
            "outcome": fate.outcome,
            "killedBy": fate.by,
            "wouldBeKilledBy": mutant.change.kill if fate.outcome == "survived" else "",
        }
