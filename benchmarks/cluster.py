"""A throw-away cluster of three node processes with one instrument."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.folders import work_folder
from matchengine.cluster.local import LocalCluster

SYMBOL = "BENCH"


@asynccontextmanager
async def running_cluster(size: int = 3) -> AsyncIterator[LocalCluster]:
    """Started nodes; everything is gone afterwards."""
    with work_folder(None) as folder:
        cluster = LocalCluster(size, folder)
        try:
            await cluster.start()
            async with ExchangeClient(cluster.addresses) as client:
                await client.add_instrument(SYMBOL, "0.01", "1")
            yield cluster
        finally:
            await cluster.stop()


def percentile(values: list[float], fraction: float) -> float:
    """The value that ``fraction`` of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
