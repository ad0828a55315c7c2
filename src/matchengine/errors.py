"""Errors that users of the library meet."""

from __future__ import annotations


class MatchEngineError(Exception):
    """Base of all errors of this package that a caller may want to handle."""


class NotLeaderError(MatchEngineError):
    """This node does not lead; nothing was executed.

    ``leader_id`` and ``leader_address`` are empty when no leader is known.
    """

    def __init__(self, leader_id: str = "", leader_address: str = "") -> None:
        hint = f"the leader is {leader_id} at {leader_address}" if leader_address else "no leader is known"
        super().__init__(f"node is not the leader; {hint}")
        self.leader_id = leader_id
        self.leader_address = leader_address


class UnknownOutcomeError(MatchEngineError):
    """The command may or may not take effect; with a session, retry the same sequence."""


class RefusedError(MatchEngineError):
    """The request was refused before anything was executed; the text says why."""


class BusyError(RefusedError):
    """Too much is waiting already; retry later."""


class NothingNewError(RefusedError):
    """Nothing was applied since the last snapshot, or ever."""

    def __init__(self) -> None:
        super().__init__("nothing new to snapshot")


class StoppedError(MatchEngineError):
    """The node has stopped, and the request with it: nothing was executed.  The text says why."""


class EngineError(MatchEngineError):
    """The process that runs the engine cannot be started, has failed, or is gone: the node stops."""
