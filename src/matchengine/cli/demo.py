"""``matchengine demo``."""

from __future__ import annotations

from pathlib import Path

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.cli.options import Whole
from matchengine.cluster.local import ClusterEngine
from matchengine.demo.screen import screen
from matchengine.demo.show import run_demo


def demo(
    *,
    seconds: float = 12.0,
    seed: Whole = 1,
    rate: Whole = 2000,
    work_dir: Path | None = None,
    engine: ClusterEngine = "matchengine",
) -> int:
    """Three nodes, a stream of orders, and half-way the leader is killed and started again.

    Example: `matchengine demo --seconds 12 --seed 7`

    Exit code 0 when nothing was lost, nothing was doubled, and all nodes agree.

    Parameters
    ----------
    seconds
        How long orders are sent.
    seed
        Chooses the stream of orders.
    rate
        Commands per second.
    work_dir
        Where the nodes' throw-away directories go; must be on a disk.
    engine
        What the nodes run on: ours, HashiCorp Raft, or both in one cluster.

    """
    for name, value, low, high in (("seconds", seconds, 2, 3600), ("rate", rate, 50, 50_000)):
        if not low <= value <= high:
            complain(f"--{name} {value:g} is not from {low} to {high}")
            return Exit.USAGE
    print("starting three nodes ...", flush=True)
    result = run(run_demo(seconds, seed, rate, screen(), work_dir, engine))
    print(result.line(), flush=True)
    return Exit.OK if result.good else Exit.FAILED
