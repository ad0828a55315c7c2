"""Fixed seeds: every rule holds, and the same seed is the same run."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from matchengine.testing.simulator.report import command
from matchengine.testing.simulator.simulation import Plan, run

TRACE_OF = Plan(seed=5, steps=6000)
#: Every machine and Python version must find this.  It changes with what the nodes do, and then only.
TRACE_HASH = "4319acab62646a98"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("nodes", [3, 5])
def test_every_rule_holds(seed: int, nodes: int) -> None:
    plan = Plan(seed=1000 * nodes + seed, steps=8000, nodes=nodes)
    assert run(plan).failure is None, command(plan)


def trace_hash() -> str:
    return sha256("\n".join(run(TRACE_OF, traced=True).trace).encode()).hexdigest()[:16]


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_a_seed_is_the_same_run_everywhere(hash_seed: str) -> None:
    """Byte for byte, whatever order the interpreter gives to sets of strings."""
    code = "from test_seeds import trace_hash; print(trace_hash())"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.path.dirname(__file__)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == TRACE_HASH
