"""How much faster than real time whole clusters are simulated: three nodes with the exchange, on one core."""

from __future__ import annotations

import time
from typing import Final

from matchengine.testing.simulator import Plan, run

_SEEDS: Final = range(24)


def _cpu_s(plan: Plan) -> tuple[float, float]:
    """(CPU time of this process, simulated time), both in seconds."""
    began = time.process_time()
    result = run(plan)
    if result.failure is not None:
        raise RuntimeError(f"seed {plan.seed}: {result.failure}")
    return time.process_time() - began, result.simulated_us / 1e6


def main(passes: int = 3) -> None:
    """Print simulated seconds by CPU second, of each seed's quickest pass, and of the first pass."""
    runs = [[_cpu_s(Plan(seed, nodes=3)) for seed in _SEEDS] for _ in range(passes)]
    simulated = sum(simulated for _, simulated in runs[0])
    first = sum(cpu for cpu, _ in runs[0])
    best = sum(min(cpu for cpu, _ in of_seed) for of_seed in zip(*runs, strict=True))
    print(
        f"{len(_SEEDS)} seeds, all faults, every rule checked: {simulated:.0f} s simulated in {best:.2f} s of CPU; "
        f"{simulated / best:.0f} times real time (first pass: {simulated / first:.0f})"
    )
