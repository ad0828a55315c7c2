"""Clients of a cluster: the leader found and followed, every command exactly once."""

from matchengine.client.errors import (
    NoLeaderError,
    SessionExpiredError,
    SessionRefusedError,
)
from matchengine.client.session import Client

__all__ = ["Client", "NoLeaderError", "SessionExpiredError", "SessionRefusedError"]
