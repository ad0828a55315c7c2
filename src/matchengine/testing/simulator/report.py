"""What is told of a run: the command that repeats it, its schedule, its trace."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from matchengine.testing.simulator.faults import ALL, Fault
from matchengine.testing.simulator.simulation import Plan, Result, run
from matchengine.testing.simulator.timeline import SECOND
from matchengine.testing.simulator.workloads import ExchangeWorkload, Workload

_SHOWN_LINES: Final = 60
_HOUR_US: Final = 3600 * SECOND


def command(plan: Plan) -> str:
    """The command line that runs ``plan`` again."""
    words = [f"matchengine simulate --seed {plan.seed} --steps {plan.steps}"]
    if plan.nodes != Plan(0).nodes:
        words.append(f"--nodes {plan.nodes}")
    if plan.faults != ALL:
        words.append(f"--faults {','.join(plan.faults) or 'none'}")
    if plan.keep is not None:
        words.append(f"--keep {','.join(map(str, plan.keep)) or '0'}")
    return " ".join(words)


def call(plan: Plan, workload: Workload) -> str:
    """The call that runs ``plan`` again with a workload that the command line does not know."""
    words = [f"seed={plan.seed}, steps={plan.steps}"]
    if plan.nodes != Plan(0).nodes:
        words.append(f"nodes={plan.nodes}")
    if plan.faults != ALL:
        words.append(f"faults=({' '.join(f'Fault.{kind.name},' for kind in plan.faults)})")
    if plan.keep is not None:
        words.append(f"keep={plan.keep}")
    return f"run(Plan({', '.join(words)}), {type(workload).__name__}())"


def schedule(result: Result) -> list[str]:
    """The faults of a run, one a line."""
    return [f"  #{number:<5}{at / SECOND:>12.6f} s  {text}" for number, at, text in result.faults]


def failure_report(first: Result, shrunk: Result, workload: Workload | None = None) -> str:
    """Everything about a failure: seed, commands, the smallest schedule, and the end of its trace in columns."""
    trace = run(shrunk.plan, workload, traced=True).trace
    if workload is None or type(workload) is ExchangeWorkload:
        more, again = "--trace", command
    else:
        more, again = "traced=True", partial(call, workload=workload)
    smaller = f"{len(first.faults)} faults to {len(shrunk.faults)}, {first.steps} steps to {shrunk.steps}"
    lines = [
        f"seed {first.plan.seed} FAILED at step {first.steps}: {first.failure}",
        f"again:  {again(first.plan)}",
        f"shrunk: {again(shrunk.plan)}",
        f"        {smaller}: {shrunk.failure}",
        *schedule(shrunk),
        f"the trace's last {_SHOWN_LINES} lines (all of it: add {more}):",
        trace[0],
        *trace[1:][-_SHOWN_LINES:],
    ]
    return "\n".join(lines)


def totals(simulated_us: int, counts: Mapping[str, int]) -> list[str]:
    """Simulated time, what was done, and the faults by kind."""
    faults = [f"{kind.value} {counts[kind]:,}" for kind in Fault if counts.get(kind)]
    done = (
        f"simulated {simulated_us / _HOUR_US:.2f} h: {counts.get('acknowledged', 0):,} commands acknowledged, "
        f"{counts.get('reads', 0):,} reads, {counts.get('leaders', 0):,} elections won, "
        f"{counts.get('membership changes', 0):,} membership changes"
    )
    return [done, f"faults: {', '.join(faults) or 'none'}"]
