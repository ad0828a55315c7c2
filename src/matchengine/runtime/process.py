"""A process that is there for one node."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

logger = logging.getLogger(__name__)

_GC_THRESHOLDS: Final = (20_000, 5, 2000)


async def run_node(node: Node) -> None:
    """Start ``node`` and serve until SIGTERM or Ctrl-C; raises the error that kept or stopped it from serving."""
    await node.start()
    logger.info("node %s runs at %s", node.config.id, node.config.address)
    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[None]] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stops.append(loop.create_task(node.stop())))
    calm_the_collector()
    await node.wait_stopped()


def calm_the_collector() -> None:
    """Make the collection of the oldest generation rare: it looks at every order in every book.

    What exists now is taken out of all collections.  Nothing on the hot path makes cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
