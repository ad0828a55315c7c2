"""Full load for minutes: no election may happen, and memory may not grow, for every pass closes what it opened.

``busy`` processes that do nothing but count take the processor from the nodes, as on a machine that does other work.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cluster import running_cluster
from benchmarks.flow import load_normal_closed, send_pass
from benchmarks.memory import resident
from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.local import LocalCluster


async def main(data: Path, minutes: float, busy: int) -> None:
    """Print messages, rate, and the terms before and after, with the nodes' own words about elections."""
    commands = load_normal_closed(data)
    if commands is None:
        return
    async with running_cluster() as cluster:
        with _busy_processes(busy):
            await _measure(cluster, commands, minutes, busy)


@contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    processes = [multiprocessing.get_context("spawn").Process(target=_count, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _count() -> None:
    number = 0
    while True:
        number += 1


async def _measure(cluster: LocalCluster, commands: bytes, minutes: float, busy: int) -> None:
    before = {s.id: s.term for s in await cluster.statuses() if s}
    began, messages, number = time.perf_counter(), 0, 2
    async with ExchangeClient(cluster.addresses) as client:
        while time.perf_counter() - began < minutes * 60:
            messages += await send_pass(client, commands, number)
            number += 1
            memory = await resident(cluster)
            print(f"{time.perf_counter() - began:.0f} s: {messages:,} messages, MiB {memory}", flush=True)
    seconds = time.perf_counter() - began
    after = {s.id: s.term for s in await cluster.statuses() if s}
    hashes = {s.state_hash for s in await cluster.state_hashes()}
    if after != before:
        print(cluster.last_words())  # the nodes' logs say why the leader changed
    print(
        f"{seconds / 60:.1f} minutes beside {busy} busy processes, {messages:,} messages, {messages / seconds:,.0f}/s, "
        f"elections {max(after.values()) - max(before.values())}, state hashes equal: {len(hashes) == 1}"
    )
