"""Work on a bundle spread over processes, each of which reads the bundle once.

Rule: processes are spawned, never forked, for what the command has imported may hold threads.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import Any, Final, TypeVar

T = TypeVar("T")
Files = Mapping[str, bytes]

_PER_TASK: Final = 8  # tasks for each process, so that none waits long for the others
_worker: dict[str, Any] = {}  # of a process: what `start` made


def processes(jobs: int, work: int, worth: int) -> int:
    """How many processes to use: as asked, or one for each `worth` pieces of work up to the number of cores."""
    return jobs or max(1, min(os.cpu_count() or 1, work // worth))


def spread(
    files: Files,
    start: Callable[[Files], Any],
    work: Callable[[Any, int], T],
    numbers: Sequence[int],
    jobs: int,
    more: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[int, T]]:
    """`work` on what `start` makes of the files, for each number, in any order; ends early when `more` says no."""
    if jobs == 1:
        here = start(files)
        for number in numbers:
            if not more():
                return
            yield number, work(here, number)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (dict(files), start)) as pool:
        size = max(1, len(numbers) // (jobs * _PER_TASK))
        tasks = iter([numbers[at : at + size] for at in range(0, len(numbers), size)])
        running = {pool.submit(_many, work, task) for task in islice(tasks, jobs + 1)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                yield from each.result()
                task = next(tasks, None)
                if task is not None and more():
                    running.add(pool.submit(_many, work, task))


def _begin(files: Files, start: Callable[[Files], Any]) -> None:
    _worker["it"] = start(files)


def _many(work: Callable[[Any, int], T], numbers: Sequence[int]) -> list[tuple[int, T]]:
    return [(number, work(_worker["it"], number)) for number in numbers]
