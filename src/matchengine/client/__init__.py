"""Clients of a cluster: the leader found and followed, every command exactly once."""

from matchengine.client.errors import (
    NoLeaderError,
    SessionClosedError,
    SessionExpiredError,
    SessionRefusedError,
)
from matchengine.client.session import Client

__all__ = ["Client", "NoLeaderError", "SessionClosedError", "SessionExpiredError", "SessionRefusedError"]
