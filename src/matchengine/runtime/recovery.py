"""Recovery from a lost quorum at the start of a node, when its data directory holds a ``peers.json``."""

from __future__ import annotations

import logging

from matchengine.node.recovery import last_position, recover
from matchengine.raft.types import Configuration, Restored, Server, Suffrage
from matchengine.runtime.config import NodeConfig, check_address
from matchengine.state_machine import StateMachine
from matchengine.storage.storage import Storage

logger = logging.getLogger(__name__)


def recover_if_asked(storage: Storage, restored: Restored, config: NodeConfig, machine: StateMachine) -> Restored:
    """The state to start from: ``restored``, or what it becomes under the members that an operator forces upon it.

    Raises RecoveryError, and changes nothing, when the file is malformed, does not name this node with its address, or
    there is no state to recover.
    """
    forced = storage.peers.read()
    if forced is None:
        return restored
    try:
        _check(forced, restored, config)
    except ValueError as error:
        raise storage.peers.refusal(str(error)) from error
    _warn(storage, forced, restored, config)
    storage.finish_recovery(recover(restored, forced, machine, storage.snapshots))
    logger.warning("recovery: done; the file is now %s", storage.peers.applied_path)
    return storage.restore()


def _warn(storage: Storage, forced: Configuration, restored: Restored, config: NodeConfig) -> None:
    index, term = last_position(restored)
    snapshot = restored.snapshot.index if restored.snapshot else 0
    members = ", ".join(map(_text, forced.servers))
    logger.warning("recovery: %s makes these the members, for node %s: %s", storage.peers.path, config.id, members)
    logger.warning(
        "recovery: entries %d to %d (term %d) of this node count as committed from now on, even those that never were "
        "and whose clients were told of a failure; what was committed and only lost nodes had is gone",
        *(snapshot + 1, index, term),
    )


def _check(forced: Configuration, restored: Restored, config: NodeConfig) -> None:
    for server in forced.servers:
        check_address(f"address of {server.id!r}", server.address)
    own = forced.get(config.id)
    if own is None:
        raise ValueError(f"id: none is {config.id!r}, this node's own")
    if own.address != config.address:
        raise ValueError(
            f"address of {own.id!r}: {own.address!r} is not {config.address!r}, under which this node runs"
        )
    if not last_position(restored)[0]:
        raise ValueError("there is nothing to recover, this node has neither entries nor a snapshot")


def _text(server: Server) -> str:
    silent = "" if server.suffrage is Suffrage.VOTER else " without a vote"
    return f"{server.id} at {server.address}{silent}"
