"""Full load for minutes: no election may happen, and memory may not grow, for every pass closes what it opened."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.cluster import running_cluster
from benchmarks.flow import load_normal_closed, send_pass
from benchmarks.memory import resident
from matchengine.client.exchange import ExchangeClient


async def main(data: Path, minutes: float) -> None:
    """Print messages, rate, and the terms before and after."""
    commands = load_normal_closed(data)
    if commands is None:
        return
    async with running_cluster() as cluster:
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
        f"{seconds / 60:.1f} minutes, {messages:,} messages, {messages / seconds:,.0f}/s, "
        f"elections {max(after.values()) - max(before.values())}, state hashes equal: {len(hashes) == 1}"
    )
