"""Fresh seeds until the time is over, on several processes."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import msgspec

from matchengine.testing.simulator.coverage import BranchCoverage
from matchengine.testing.simulator.simulation import Plan, Result, run

#: Under a tracer everything is slow, so coverage is taken from a few seeds only, for this part of the time.
_COVERED: Final = 0.2
_BATCH: Final = 4


class Campaign(msgspec.Struct):
    """What came of it.  ``coverage`` names the branches of the core that were reached, "" if nobody looked."""

    seeds: int = 0
    steps: int = 0
    simulated_us: int = 0
    cpu_s: float = 0.0
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    failures: list[Result] = msgspec.field(default_factory=list)
    coverage: str = ""

    def add(self, result: Result) -> None:
        """One more run."""
        self.seeds += 1
        self.steps += result.steps
        self.simulated_us += result.simulated_us
        self.counts.update(result.counts)
        if result.failure is not None:
            self.failures.append(result)


def campaign(
    plan: Plan, seconds: float, workers: int, progress: Callable[[Campaign], None] = lambda _campaign: None
) -> Campaign:
    """Run ``plan`` with its seed and those after it for about ``seconds``; ``progress`` hears of every few runs."""
    found = Campaign()
    deadline = time.monotonic() + seconds
    seeds = iter(range(plan.seed, plan.seed + 2**40))
    covered_until = time.monotonic() + seconds * _COVERED / workers
    with BranchCoverage("matchengine.raft") as coverage:
        while coverage.works and time.monotonic() < covered_until:
            _note(found, _several(_next(plan, seeds, 1)), progress)
    found.coverage = coverage.text
    if workers == 1:
        while time.monotonic() < deadline:
            _note(found, _several(_next(plan, seeds, 1)), progress)
        return found
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running = [pool.submit(_several, _next(plan, seeds, _BATCH)) for _ in range(workers)]
        while running:
            done = running.pop(0)
            if time.monotonic() < deadline:
                running.append(pool.submit(_several, _next(plan, seeds, _BATCH)))
            _note(found, done.result(), progress)
    return found


def _next(plan: Plan, seeds: Iterator[int], count: int) -> list[Plan]:
    return [msgspec.structs.replace(plan, seed=next(seeds)) for _ in range(count)]


def _several(plans: list[Plan]) -> tuple[list[Result], float]:
    started = time.process_time()
    return [run(plan) for plan in plans], time.process_time() - started


def _note(found: Campaign, done: tuple[list[Result], float], progress: Callable[[Campaign], None]) -> None:
    results, cpu_s = done
    for result in results:
        found.add(result)
    found.cpu_s += cpu_s
    progress(found)
