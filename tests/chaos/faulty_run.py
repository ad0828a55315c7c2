"""A chaos run on nodes with one rule broken: ``python faulty_run.py BUG MINUTES SEED FOLDER``; prints its report."""

from __future__ import annotations

import sys
from pathlib import Path

from matchengine.chaos.engines import Engine
from matchengine.chaos.run import Options
from matchengine.chaos.sandbox import run_inside
from matchengine.chaos.schedule import Kind, Lane
from matchengine.cli.chaos import run_and_print

#: What these bugs are afraid of, and little else.
LANES = (
    Lane("network", (Kind.ISOLATE_FROM_NODES,), (0.5, 1.5), (1.0, 2.0)),
    Lane("processes", (Kind.KILL, Kind.PAUSE), (0.5, 1.5), (0.5, 1.0)),
    Lane("operator", (Kind.TRANSFER,), (0.5, 1.5), (0.0, 0.0)),
)
NODE = Path(__file__).with_name("faulty_node.py")


class FaultyEngine(Engine):
    def __init__(self, bug: str) -> None:
        super().__init__("matchengine")
        self.name = bug

    def command(self, node_id, address, data_dir, *, bootstrap):
        python, _, _, *arguments = super().command(node_id, address, data_dir, bootstrap=bootstrap)
        return [python, str(NODE), self.name, *arguments]


if __name__ == "__main__":
    if sys.argv[1] != "--inside":
        sys.exit(run_inside([sys.executable, __file__, "--inside", *sys.argv[1:]]))
    _, _, bug, minutes, seed, folder = sys.argv
    engines = (FaultyEngine(bug),)
    options = Options(float(minutes), int(seed), 3, 8, 150, engines, Path(folder), None, LANES, recovery_s=20)
    sys.exit(run_and_print(options, json=True))
