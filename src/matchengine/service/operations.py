"""Running operations of the administration service, known to clients by token."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from matchengine.errors import BusyError, MatchEngineError, NotLeaderError, StoppedError
from matchengine.raft.proposals import Reason
from matchengine.service.errors import NotFoundError

MAX_OPERATIONS: Final = 1024
TOKEN_LIFETIME_S: Final = 600.0
_TOKEN_BYTES: Final = 20
_SHOWN: Final = 2 * _TOKEN_BYTES

#: Does the work and returns the index of its log entry, or 0 when it has none.
Operation: TypeAlias = Coroutine[Any, Any, int]


class Operations:
    """A bounded table.  A token is good for :data:`TOKEN_LIFETIME_S`, or until it is forgotten.

    In a full table the oldest outcome makes room: clients that never forget must not keep operators out.
    """

    def __init__(self, clock: Callable[[], float], limit: int = MAX_OPERATIONS) -> None:
        self._clock = clock
        self._limit = limit
        self._running: dict[str, tuple[float, asyncio.Task[int]]] = {}

    def start(self, operation: Operation) -> str:
        """Start it and return its token (40 hexadecimal digits); BusyError when the table is full of running ones."""
        self._drop_expired()
        if len(self._running) >= self._limit and not self._drop_oldest_outcome():
            operation.close()
            raise BusyError(f"{self._limit} operations are running already; await or forget some")
        token = secrets.token_hex(_TOKEN_BYTES)
        self._running[token] = self._clock() + TOKEN_LIFETIME_S, asyncio.create_task(operation)
        return token

    async def wait(self, token: str) -> tuple[str, int]:
        """The operation's error (empty: none) and index, once it has ended; raises NotFoundError."""
        self._drop_expired()
        if token not in self._running:
            raise NotFoundError(f"operation_token: {token[:_SHOWN]!r} is unknown; it was forgotten or has expired")
        task = self._running[token][1]
        await asyncio.wait([task])
        return _result(task)

    def forget(self, token: str) -> None:
        """Drop the token, if it is known; what was begun may still take effect."""
        known = self._running.pop(token, None)
        if known is not None:
            known[1].cancel()

    def _drop_expired(self) -> None:
        now = self._clock()
        for token in [token for token, (expires, _) in self._running.items() if expires <= now]:
            self.forget(token)

    def _drop_oldest_outcome(self) -> bool:
        ended = next((token for token, (_, task) in self._running.items() if task.done()), None)
        if ended is not None:
            self.forget(ended)
        return ended is not None


def _result(task: asyncio.Task[int]) -> tuple[str, int]:
    if task.cancelled():
        return "the operation was forgotten while it ran", 0
    error = task.exception()
    if error is None:
        return "", task.result()
    if isinstance(error, MatchEngineError):
        return _text(error), 0
    raise error


def _text(error: MatchEngineError) -> str:
    """What HashiCorp Raft says, where it knows the error: programs compare these texts."""
    if isinstance(error, NotLeaderError):
        return Reason.NOT_LEADER.value
    if isinstance(error, StoppedError):
        return "raft is already shutdown"
    text = str(error)
    for reason in (Reason.CONFIGURATION_CHANGED, Reason.INVALID_CHANGE):
        text = text.removeprefix(f"{reason.value}: ")
    return text
