"""``matchengine node``: one node of an exchange."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from matchengine.cli.exits import complain
from matchengine.cli.logs import log_to_stderr
from matchengine.cli.loop import stop_at_eof
from matchengine.cli.serving import run_process
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.kernel_build import describe, require_fresh
from matchengine.levels import Levels
from matchengine.raft.config import PROFILES
from matchengine.runtime.config import ENGINE_TIMING, EngineName, NodeConfig, is_loopback
from matchengine.service import exchange_services, serve
from matchengine.sessions import SessionMachine

logger = logging.getLogger(__name__)


def node(
    *,
    id: str,  # noqa: A002 - the option's name
    data_dir: Path,
    address: str = "127.0.0.1:50051",
    listen: str = "",
    bootstrap: Annotated[bool, Parameter(negative="")] = False,
    profile: Literal["fast", "hashicorp"] | None = None,
    engine: EngineName = "matchengine",
    feature_level: str = "",
    until_eof: Annotated[bool, Parameter(negative="")] = False,
    log_level: Literal["debug", "info", "warning", "error"] = "info",
) -> int:
    """Run one node of a cluster, until SIGTERM or Ctrl-C.

    Example: `matchengine node --id nodeA --address 127.0.0.1:50051 --data-dir data/nodeA --bootstrap`

    A cluster that has lost a majority of its voters for good goes on with the members in `peers.json`, an array like
    `[{"id": "nodeA", "address": "127.0.0.1:50051", "non_voter": false}]`, which a node that starts finds in its
    `data_dir`, applies once and renames. Writes may be lost or made up thereby: read docs/operations.md first.

    Parameters
    ----------
    id
        The node's name, unique in the cluster and fixed for its data directory.
    data_dir
        Where log and snapshots are kept.
    address
        host:port at which others reach this node.
    listen
        host:port to bind, if it is not `address`: behind NAT or in a container 0.0.0.0:50051, for example.
    bootstrap
        Found a new cluster with this node as its only member; the others are added with `matchengine member add`.
    profile
        `fast` for clusters of these nodes; `hashicorp` for those shared with HashiCorp's; by default the engine's own.
    engine
        `matchengine`, which needs nothing more, or `hashicorp`: HashiCorp Raft, built by `make engine`.
    feature_level
        Where the level of a new cluster begins, as `0.0`, when older programs are to join it; else at the newest.
    until_eof
        Stop when standard input ends, too: a program that starts nodes through a pipe cannot leave them behind.
    log_level
        The least level of the lines on stderr: debug, info, warning or error.

    """
    log_to_stderr(log_level)
    require_fresh()
    logger.info("kernel of the exchange: %s", describe())
    timing = PROFILES[profile] if profile else ENGINE_TIMING[engine]
    config = NodeConfig(
        id,
        address,
        data_dir,
        listen=listen,
        bootstrap=bootstrap,
        engine=engine,
        timing=timing,
        feature_level=Levels.parse(feature_level) if feature_level else None,
    )
    if not is_loopback(config.listen_address):
        complain(f"listening on {config.listen_address}: whoever reaches it can trade, there is no authentication")
    if until_eof:
        stop_at_eof()
    return run_process(config, SessionMachine(ExchangeStateMachine(secrets.randbits(63))), serve(exchange_services))
