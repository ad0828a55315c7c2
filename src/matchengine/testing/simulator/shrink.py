"""Making a failure small: the fewest faults and steps of a failing run that break the same rule.

A schedule's faults draw from streams of their own, so any of them can be left out.  What remains is found the way
of Zeller and Hildebrandt ("Simplifying and Isolating Failure-Inducing Input", 2002): leave out halves, then quarters,
and so on, and keep whatever still fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from matchengine.testing.simulator.simulation import Plan, Result, run
from matchengine.testing.simulator.workloads import Workload

MOST_RUNS: Final = 150


class _Shrinker:
    def __init__(
        self, failing: Result, workload: Workload | None, runs: int, progress: Callable[[Result], None]
    ) -> None:
        assert failing.failure is not None
        self.best = failing
        self._invariant = failing.failure.invariant
        self._workload = workload
        self._runs = runs
        self._progress = progress

    def _fails(self, plan: Plan) -> bool:
        """Whether ``plan`` breaks the same rule; if so, it is the best so far."""
        if self._runs <= 0:
            return False
        self._runs -= 1
        result = run(plan, self._workload)
        if result.failure is None or result.failure.invariant != self._invariant:
            return False
        self.best = result
        self._progress(result)
        return True

    def shrink(self) -> Result:
        plan = self.best.plan
        self._fails(msgspec.structs.replace(plan, keep=tuple(number for number, _, _ in self.best.faults)))
        self._cut_steps()
        self._leave_out_faults()
        self._cut_steps()
        return self.best

    def _cut_steps(self) -> None:
        """End the faults at the failure; one that shows only in recovery, as early as possible."""
        plan = self.best.plan
        if self.best.steps <= plan.steps:
            self._fails(msgspec.structs.replace(plan, steps=self.best.steps))
            return
        low, high = 0, plan.steps
        while high - low > plan.steps // 16 + 1:
            middle = (low + high) // 2
            if self._fails(msgspec.structs.replace(self.best.plan, steps=middle)):
                high = middle
            else:
                low = middle

    def _leave_out_faults(self) -> None:
        parts = 2
        while len(kept := self.best.plan.keep or ()) > 0 and self._runs > 0:
            size = -(-len(kept) // parts)
            for start in range(0, len(kept), size):
                rest = kept[:start] + kept[start + size :]
                if self._fails(msgspec.structs.replace(self.best.plan, keep=rest)):
                    parts = max(parts - 1, 2)
                    break
            else:
                if size == 1:
                    return
                parts = min(2 * parts, len(kept))


def shrink(
    failing: Result,
    workload: Workload | None = None,
    *,
    runs: int = MOST_RUNS,
    progress: Callable[[Result], None] = lambda _result: None,
) -> Result:
    """The smallest run found that breaks the rule that ``failing`` breaks, by at most ``runs`` tries."""
    return _Shrinker(failing, workload, runs, progress).shrink()
