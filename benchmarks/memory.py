"""Resident memory of the nodes over many passes of a recorded flow, and how long a restart takes then.

Each pass ends with the cancels of what the flow leaves open, so memory that grows from pass to pass is lost.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.cluster import running_cluster
from benchmarks.flow import load_normal_closed, send_pass
from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.local import LocalCluster

_MIB = 1024 * 1024


async def main(data: Path, passes: int) -> None:
    """Print the memory of every node after every pass, then the time of one restart."""
    commands = load_normal_closed(data)
    if commands is None:
        return
    async with running_cluster() as cluster:
        async with ExchangeClient(cluster.addresses) as client:
            for number in range(2, passes + 2):
                began = time.perf_counter()
                messages = await send_pass(client, commands, number)
                rate = messages / (time.perf_counter() - began)
                print(f"pass {number - 1}: {rate:,.0f} messages/s, MiB {await resident(cluster)}", flush=True)
                if number == 2:
                    await _restart(cluster, "after one pass")
        await _restart(cluster, f"after {passes} passes")


async def resident(cluster: LocalCluster) -> str:
    """Resident MiB of every node."""
    return ", ".join(f"{s.resident_bytes / _MIB:.0f}" if s else "-" for s in await cluster.statuses())


async def _restart(cluster: LocalCluster, when: str) -> None:
    """Kill a follower and start it; it is back when it has applied what the leader had committed."""
    victim = next(s.address for s in await cluster.statuses() if s and s.role == "follower")
    node = cluster.node_at(victim)
    node.kill()
    began = time.perf_counter()
    node.start()
    await cluster.caught_up(node)
    print(f"restart {when}: {time.perf_counter() - began:.2f} s", flush=True)
