"""matchengine: order books, or any state machine of yours, replicated through a Raft log."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from matchengine.errors import (
    BusyError,
    MatchEngineError,
    NotLeaderError,
    RefusedError,
    StoppedError,
    UnknownOutcomeError,
)
from matchengine.levels import Levels
from matchengine.raft.types import Entry
from matchengine.state_machine import Hashable, Leveled, NewerVersionError, Queryable, StateMachine
from matchengine.transport import grpc_setup as _grpc_setup  # noqa: F401 - must come before any import of grpc

if TYPE_CHECKING:
    from matchengine.client.session import Client
    from matchengine.library import Node
    from matchengine.runtime.config import NodeConfig

__version__ = version("matchengine")

__all__ = [
    "BusyError",
    "Client",
    "Entry",
    "Hashable",
    "Leveled",
    "Levels",
    "MatchEngineError",
    "NewerVersionError",
    "Node",
    "NodeConfig",
    "NotLeaderError",
    "Queryable",
    "RefusedError",
    "StateMachine",
    "StoppedError",
    "UnknownOutcomeError",
]

_LAZY = {
    "Client": "matchengine.client.session",
    "Node": "matchengine.library",
    "NodeConfig": "matchengine.runtime.config",
}


def __getattr__(name: str) -> Any:
    """Import what needs gRPC only when it is asked for: the pure core must not pull it in."""
    if name not in _LAZY:
        raise AttributeError(f"module 'matchengine' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
