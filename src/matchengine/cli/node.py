"""``matchengine node``: one node of an exchange."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.raft.config import PROFILES
from matchengine.runtime.config import NodeConfig, is_loopback
from matchengine.runtime.node import Node
from matchengine.runtime.process import calm_the_collector
from matchengine.service import exchange_services, serve
from matchengine.sessions import SessionMachine

_LOG = logging.getLogger(__name__)


def node(
    *,
    id: str,  # noqa: A002 - the option's name
    data_dir: Path,
    address: str = "127.0.0.1:50051",
    listen: str = "",
    bootstrap: Annotated[bool, Parameter(negative="")] = False,
    profile: Literal["fast", "hashicorp"] = "fast",
) -> int:
    """Run one node of a cluster, until SIGTERM or Ctrl-C.

    Example: `matchengine node --id nodeA --address 127.0.0.1:50051 --data-dir data/nodeA --bootstrap`

    Parameters
    ----------
    id
        The node's name, unique in the cluster and fixed for its data directory.
    data_dir
        Where log and snapshots are kept.
    address
        host:port at which others reach this node.
    listen
        host:port to bind, if it is not `address`.
    bootstrap
        Found a new cluster with this node as its only member; the others are added with `matchengine member add`.
    profile
        `fast` for clusters of these nodes; `hashicorp` for clusters shared with HashiCorp's.

    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    config = NodeConfig(id, address, data_dir, listen=listen, bootstrap=bootstrap, timing=PROFILES[profile])
    if not is_loopback(config.listen_address):
        complain(f"listening on {config.listen_address}: whoever reaches it can trade, there is no authentication")
    try:
        run(_serve(config))
    except Exception as error:  # noqa: BLE001 - whatever stopped the node, its operator reads the text
        complain(f"node {config.id}: {error}")
        return Exit.FAILED
    return Exit.OK


async def _serve(config: NodeConfig) -> None:
    running = Node(config, SessionMachine(ExchangeStateMachine()), (serve(exchange_services),))
    await running.start()
    _LOG.info("node %s runs at %s", config.id, config.address)
    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[None]] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stops.append(loop.create_task(running.stop())))
    calm_the_collector()
    await running.wait_stopped()
