"""``matchengine simulate``."""

from __future__ import annotations

import secrets
import sys
import time

import msgspec

from matchengine.cli.exits import Exit
from matchengine.cli.options import Json, Whole
from matchengine.kernel_build import require_fresh
from matchengine.testing.simulator.campaign import Campaign, campaign
from matchengine.testing.simulator.faults import ALL, Fault
from matchengine.testing.simulator.report import command, failure_report, totals
from matchengine.testing.simulator.shrink import shrink
from matchengine.testing.simulator.simulation import DEFAULT_NODES, DEFAULT_STEPS, Plan, Result, named, run

_PROGRESS_S = 10.0


def to_json(facts: dict[str, object]) -> str:
    """One line."""
    return msgspec.json.encode(facts).decode()


def simulate(
    *,
    seed: Whole | None = None,
    steps: Whole = DEFAULT_STEPS,
    nodes: Whole = DEFAULT_NODES,
    faults: str = "",
    keep: str = "",
    trace: bool = False,
    seconds: float = 60.0,
    workers: Whole = 1,
    json: Json = False,
) -> int:
    """Simulate whole clusters under faults, in one thread, from a seed, and check every rule after every step.

    Example: `matchengine simulate --seed 7 --steps 20000 --nodes 3 --faults power,partition,pause`

    With `--seed` one run; without, fresh seeds until the time is over.
    A failure prints its seed, the command that repeats it, the smallest schedule of faults that still fails, and the
    trace with a column for each node.
    Exit code 0 when every rule held.

    Parameters
    ----------
    seed
        The run to make; the same seed gives the same run on every machine.
    steps
        Events under faults; then the faults end and the cluster has to recover.
    nodes
        Voters at the start; 0 for as many as the seed says.
    faults
        Kinds of faults, separated by commas; "none" for none, nothing for all.
    keep
        Numbers of the schedule's faults that happen, separated by commas; nothing for all.
    trace
        Print the whole trace.
    seconds
        How long fresh seeds are run.
    workers
        Processes for fresh seeds.
    json
        Print one JSON object.

    """
    require_fresh()
    if not 0 <= nodes <= 9:
        raise ValueError(f"nodes: {nodes} is not from 0 to 9")
    plan = Plan(seed if seed is not None else secrets.randbits(40), steps, nodes, _kinds(faults), _numbers(keep))
    if seed is None:
        return _run_many(plan, seconds, max(1, workers), json=json)
    return _run_one(plan, trace=trace, json=json)


def _kinds(faults: str) -> tuple[Fault, ...]:
    if faults == "none":
        return ()
    return named(faults.split(",")) if faults else ALL


def _numbers(keep: str) -> tuple[int, ...] | None:
    if not keep:
        return None
    words = keep.split(",")
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"keep: {keep!r} is not a list of numbers")
    return tuple(map(int, words))


def _run_one(plan: Plan, *, trace: bool, json: bool) -> int:
    started = time.perf_counter()
    result = run(plan, traced=trace)
    took = time.perf_counter() - started
    if json:
        print(to_json(_facts(result)))
    else:
        print(*result.trace, sep="\n", end="\n" if result.trace else "")
        print(*totals(result.simulated_us, result.counts), sep="\n")
        print(f"{result.steps} steps, {result.simulated_us / 1e6 / took:.0f} times real time")
        if result.failure is not None:
            _explain(result)
    return Exit.FAILED if result.failure is not None else Exit.OK


def _facts(result: Result) -> dict[str, object]:
    return {
        "seed": result.plan.seed,
        "failure": str(result.failure) if result.failure else "",
        "command": command(result.plan),
        "steps": result.steps,
        "simulated_s": result.simulated_us / 1e6,
        "counts": result.counts,
        "faults": [list(fault) for fault in result.faults],
    }


def _explain(result: Result) -> None:
    print(f"seed {result.plan.seed} FAILED: {result.failure}\nlooking for a smaller schedule ...", flush=True)
    print(failure_report(result, shrink(result)), flush=True)


def _run_many(plan: Plan, seconds: float, workers: int, *, json: bool) -> int:
    told = time.monotonic()

    def progress(found: Campaign) -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_S and not json:
            told = time.monotonic()
            print(f"{found.seeds} seeds, {len(found.failures)} failures", file=sys.stderr, flush=True)

    found = campaign(plan, seconds, workers, progress)
    if json:
        facts = msgspec.structs.asdict(found) | {"failures": [_facts(r) for r in found.failures], "seed": plan.seed}
        print(to_json(facts))
    else:
        print(f"{found.seeds} seeds from {plan.seed} on, {plan.steps} steps each, {found.cpu_s:.0f} s of CPU time")
        print(*totals(found.simulated_us, found.counts), sep="\n")
        if found.coverage:
            print(f"reached {found.coverage}")
        for result in found.failures[:3]:
            _explain(result)
        failed = ", ".join(str(result.plan.seed) for result in found.failures)
        print(f"failed seeds: {failed}" if failed else "every rule held", flush=True)
    return Exit.FAILED if found.failures else Exit.OK
