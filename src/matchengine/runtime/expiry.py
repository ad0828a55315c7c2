"""What a node does about sessions: the leader finds the idle ones, and every node logs which ended and why."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
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
    """Looks at the sessions now and then; does nothing without a session table."""

    def __init__(self, node: Node, idle_s: float) -> None:
        self._node = node
        self._idle_s = idle_s
        self._watch = IdleWatch()
        self._task: asyncio.Task[None] | None = None
        machine = node.machine
        if isinstance(machine, SessionMachine):
            node.on_leadership(lambda _leading: self._watch.forget())
            self._logged = max((ending.index for ending in machine.endings()), default=0)
            self._task = asyncio.get_running_loop().create_task(self._run(machine))

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    def idle_s(self) -> dict[int, float]:
        """For how many seconds each session has been idle, as far as this node has seen it while it leads."""
        machine, now = self._node.machine, time.monotonic()
        if isinstance(machine, SessionMachine):
            self._watch.look(machine.last_entries(), now)
        return self._watch.idle_times(now)

    async def _run(self, machine: SessionMachine) -> None:
        while True:
            await asyncio.sleep(min(self._idle_s / 10, _LOOK_S))
            self._log_endings(machine)
            envelope = self._expiry(machine) if self._node.is_leader else None
            if envelope is not None:
                with contextlib.suppress(MatchEngineError):
                    await self._node.propose(envelope)

    def _expiry(self, machine: SessionMachine) -> bytes | None:
        """The entry that ends idle sessions, if there are any."""
        if not machine.has_session_rules:
            idle_ns = int(self._idle_s * 1e9)
            return expire_envelope(idle_ns) if machine.has_idle_sessions(idle_ns, time.time_ns()) else None
        now = time.monotonic()
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
