"""Random schedules of faults over a simulated cluster: safety always, progress once the faults end."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos import ACTIONS, Chaos, run_seed
from cluster import Cluster

SCHEDULES = st.lists(st.tuples(st.sampled_from(sorted(set(ACTIONS))), st.integers(0, 999)), max_size=50)


@pytest.mark.parametrize("first", range(0, 160, 40))
def test_seeds(first: int) -> None:
    """Fixed seeds: election safety, log matching, leader completeness, state-machine safety (figure 3)."""
    for seed in range(first, first + 40):
        run_seed(seed)


@pytest.mark.parametrize("old", [("n1",), ("n2", "n3"), ("n1", "n2", "n3", "n4", "n5")], ids=len)
def test_seeds_with_servers_that_announce_no_id(old: tuple[str, ...]) -> None:
    """The same, and as lively, among servers of an old version; n4 may be one that was never told its cluster."""
    for seed in range(1000, 1025):
        run_seed(seed, old=old)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    schedule=SCHEDULES,
    seed=st.integers(0, 2**16),
    size=st.sampled_from((1, 2, 3, 5)),
    loss=st.sampled_from((0.0, 0.05, 0.2)),
    disk_delay=st.sampled_from((1, 5, 60)),
    snapshot_every=st.sampled_from((0, 5, 20)),
)
def test_any_schedule(
    schedule: list[tuple[str, int]], seed: int, size: int, loss: float, disk_delay: int, snapshot_every: int
) -> None:
    """The same with shrinking, so that a failure comes as a short story."""
    cluster = Cluster(
        size,
        seed,
        spares=1,
        loss=loss,
        duplication=loss,
        disk_delay=disk_delay,
        snapshot_every=snapshot_every,
        trailing_entries=2,
        max_trailing_bytes=0,
        max_append_entries=4,
        max_inflight_requests=3,
    )
    chaos = Chaos(cluster)
    chaos.perform(schedule)
    chaos.recover()


def test_the_same_seed_is_the_same_run() -> None:
    """Nothing in the core or the simulation depends on anything but the seed."""
    runs = []
    for _ in range(2):
        cluster = Cluster(3, 7, loss=0.1, duplication=0.1, snapshot_every=10)
        chaos = Chaos(cluster)
        chaos.perform([("commands", 7), ("crash_leader", 1), ("run", 599), ("commands", 5), ("restart", 0)])
        chaos.recover()
        runs.append((cluster.now, cluster.invariants.applied, cluster.invariants.leaders))
    assert runs[0] == runs[1]
