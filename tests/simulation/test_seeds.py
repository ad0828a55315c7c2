"""Fixed seeds: every rule holds, and the same seed is the same run."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from matchengine.node.replica import Replica
from matchengine.testing.simulator.report import command
from matchengine.testing.simulator.simulation import Plan, run

ROOT = Path(__file__).resolve().parents[2]
TRACE_OF = Plan(seed=5, steps=6000)
#: Every machine and Python version must find this.  It changes with what the nodes do, and then only.
TRACE_HASH = "9cb4763354150be6"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nodes", [0, 3, 5])
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


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_a_seed_is_the_same_run_on_every_python(version: str) -> None:
    """On every interpreter that this machine has, with the same packages in an environment of its own."""
    python = environment_of(version)
    code = "from test_seeds import trace_hash; print(trace_hash())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.path.dirname(__file__)])}
    found = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == TRACE_HASH


def environment_of(version: str) -> Path:
    """The interpreter of an environment for this Python, kept for the next time; skips where it cannot be made."""
    name = f"python{version}"
    found = [*Path.home().glob(f".pyenv/versions/{version}*/bin/{name}"), shutil.which(name)]
    if not found[0]:
        pytest.skip(f"there is no {name} on this machine")
    python = ROOT / "build" / name / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "-e", ROOT, "pytest"]
    for step in ([found[0], "-m", "venv", python.parents[1]], install):
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no environment for {name}: {done.stderr.strip()[-200:]}")
    return python


def test_a_run_that_is_over_leaves_nothing_behind() -> None:
    """Commands are under way when this run ends; what waits for them must not keep the nodes in memory for ever."""

    def replicas() -> int:
        gc.collect()
        return sum(isinstance(each, Replica) for each in gc.get_objects())

    before = replicas()
    run(Plan(seed=4))
    assert replicas() == before
