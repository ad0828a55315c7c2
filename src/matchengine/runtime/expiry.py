"""What a node does about sessions: the leader finds the idle ones, and every node logs which ended and why."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from matchengine.errors import MatchEngineError
from matchengine.sessions import (
    Ending,
    EndReason,
    IdleWatch,
    SessionMachine,
    expire_envelope,
    expire_sessions_envelope,
)

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

logger = logging.getLogger(__name__)

#: The longest time between two looks at the sessions.
_LOOK_S: Final = 5.0
_WHY: Final = {
    EndReason.EVICTED: "the answers that its client has not acknowledged had to make room",
    EndReason.EXPIRED: "it was idle for too long",
    EndReason.ENDED_BY_OPERATOR: "an operator closed it",
}


class SessionExpiry:
    """Looks at the sessions now and then; does nothing without a session table.

    ``clock`` counts seconds from any beginning, and is never set.
    """

    def __init__(self, node: Node, idle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._idle_s = idle_s
        self._clock = clock
        self._watch = IdleWatch()
        self._machine = node.machine if isinstance(node.machine, SessionMachine) else None
        #: Index of the last entry whose endings have been logged; what a snapshot brings was logged before.
        self._logged = (
            max((ending.index for ending in self._machine.endings()), default=0) if self._machine is not None else 0
        )
        self._task: asyncio.Task[None] | None = None
        node.on_leadership(lambda _leading: self._watch.forget())

    def start(self) -> None:
        """Look from now on."""
        if self._machine is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._machine))

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    def idle_s(self) -> dict[int, float]:
        """For how many seconds each session has been idle, as far as this node has seen it while it leads."""
        now = self._clock()
        if self._machine is not None:
            self._watch.look(self._machine.last_entries(), now)
        return self._watch.idle_times(now)

    async def _run(self, machine: SessionMachine) -> None:
        while True:
            await asyncio.sleep(min(self._idle_s / 10, _LOOK_S))
            if envelope := self.look(machine):
                with contextlib.suppress(MatchEngineError):
                    await self._node.propose(envelope)

    def look(self, machine: SessionMachine) -> bytes | None:
        """Log what has ended; returns the entry that ends idle sessions, if this node leads and there are any."""
        self._log_endings(machine)
        if not self._node.is_leader:
            return None
        if not machine.has_session_rules:
            idle_ns = int(self._idle_s * 1e9)
            return expire_envelope(idle_ns) if machine.has_idle_sessions(idle_ns, time.time_ns()) else None
        now = self._clock()
        self._watch.look(machine.last_entries(), now)
        idle = self._watch.idle(self._idle_s, now)
        return expire_sessions_envelope(idle) if idle else None

    def _log_endings(self, machine: SessionMachine) -> None:
        for ending in machine.endings(self._logged):
            level = logging.WARNING if ending.reason is EndReason.EVICTED else logging.INFO
            logger.log(level, "%s", describe(ending))
            self._logged = ending.index


def describe(ending: Ending) -> str:
    """What an operator reads about the end of a session."""
    return (
        f"session {ending.number} of client {ending.name!r} was closed at entry {ending.index}: {_WHY[ending.reason]}; "
        f"it held {ending.answer_bytes} bytes of answers"
    )
