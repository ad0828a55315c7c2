"""kill -9 of the leader until the next order is acknowledged, with the ``fast`` timing profile."""

from __future__ import annotations

import asyncio
import time

from benchmarks.cluster import SYMBOL, percentile, running_cluster
from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.local import LocalCluster
from matchengine.v1.exchange_pb2 import SIDE_BUY


async def main(kills: int) -> None:
    """Print median and worst of all kills; the killed node is back before the next one."""
    async with running_cluster() as cluster, ExchangeClient(cluster.addresses, account=2) as client:
        took: list[float] = []
        for number in range(1, kills + 1):
            took.append(await _kill_once(cluster, client, 2 * number))
            print(f"kill {number}: {took[-1]:.0f} ms", flush=True)
    print(
        f"profile fast, {kills} kills: median {percentile(took, 0.5):.0f} ms, best {min(took):.0f} ms, "
        f"worst {max(took):.0f} ms"
    )


async def _kill_once(cluster: LocalCluster, client: ExchangeClient, cl_ord_id: int) -> float:
    await client.new_order(SYMBOL, SIDE_BUY, "1", "1.00", cl_ord_id=cl_ord_id)
    victim = cluster.node_at(client.session.leader)
    began = time.perf_counter()
    victim.kill()
    reports = await client.new_order(SYMBOL, SIDE_BUY, "1", "1.00", cl_ord_id=cl_ord_id + 1)
    took = (time.perf_counter() - began) * 1000
    if [report.exec_type for report in reports] != ["0"]:
        raise SystemExit(f"the order after the kill was not accepted: {reports}")
    victim.start()
    await cluster.caught_up(victim)
    await asyncio.sleep(0.5)
    return took
