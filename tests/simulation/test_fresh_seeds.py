"""Seeds that nobody has run before, other ones every time: sixty seconds of them in all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from itertools import count

import msgspec
import pytest

from matchengine.testing.simulator.report import command
from matchengine.testing.simulator.simulation import Plan, named, run
from matchengine.testing.simulator.timeline import SECOND

#: For each kind of cluster; they are apart so that workers can share them.
SECONDS = 15
HOUR_US = 3600 * SECOND
DISKS = "power,torn-sector,rot,write-error,sync-error,full-disk,hanging-disk,kill,partition,one-way,snapshot"
CHANGES = "membership,rejoin,wipe,transfer,power,kill,pause,partition,one-way,loss,broken-stream,snapshot"


@pytest.mark.parametrize(
    "plan",
    [Plan(0), Plan(0, nodes=3), Plan(0, faults=named(DISKS.split(","))), Plan(0, faults=named(CHANGES.split(",")))],
    ids=["any size", "three nodes", "disks", "membership"],
)
def test_every_rule_holds_from_fresh_seeds(plan: Plan, record_property: Callable[[str, object], None]) -> None:
    """What is printed shows up with any failure, a hanging run included, and names the run that failed last."""
    first = secrets.randbits(40)
    deadline = time.monotonic() + SECONDS
    hours = 0.0
    for seed in count(first):
        fresh = msgspec.structs.replace(plan, seed=seed)
        print(command(fresh), flush=True)
        result = run(fresh)
        if result.failure is not None:
            pytest.fail(f"seed {seed} FAILED: {result.failure}\nagain, and smaller: {command(fresh)}")
        hours += result.simulated_us / HOUR_US
        if time.monotonic() >= deadline:
            record_property("counted", f"{seed - first + 1} seeds from {first} on, {hours:.2f} hours simulated")
            return
