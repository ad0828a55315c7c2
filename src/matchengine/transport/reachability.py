"""Whether a peer answers, told in the log: when it falls silent, now and then while it is, and when it is back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from matchengine.raft.types import ServerId

_logger = logging.getLogger(__name__)

#: A peer that is silent is mentioned again after this time, in seconds.
_REMIND_S: Final = 60.0


class Reachability:
    """One peer's standing.  ``patience_s`` of failed calls without an answer between them make it unreachable."""

    def __init__(self, server_id: ServerId, address: str, patience_s: float, clock: Callable[[], float]) -> None:
        self._name = f"peer {server_id} at {address}"
        self._patience_s = patience_s
        self._clock = clock
        self._silent_since: float | None = None
        self._told_at: float | None = None

    def answered(self) -> None:
        """A call was answered, whatever the answer says."""
        if self._told_at is not None and self._silent_since is not None:
            _logger.info("%s answers again after %.1f s", self._name, self._clock() - self._silent_since)
        self._silent_since = self._told_at = None

    def failed(self, reason: str) -> None:
        """A call ended without an answer, for ``reason``."""
        now = self._clock()
        if self._silent_since is None:
            self._silent_since = now
        silent_s = now - self._silent_since
        if silent_s >= self._patience_s and (self._told_at is None or now - self._told_at >= _REMIND_S):
            self._told_at = now
            _logger.warning("%s has not answered for %.1f s: %s", self._name, silent_s, reason)
