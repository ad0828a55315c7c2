"""Expiry of idle sessions: decided by the leader, carried out by an entry in the log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from matchengine.errors import MatchEngineError
from matchengine.sessions import SessionMachine, expire_envelope

if TYPE_CHECKING:
    from matchengine.runtime.node import Node


class SessionExpiry:
    """Looks for idle sessions now and then while the node leads; does nothing without a session table."""

    def __init__(self, node: Node, idle_s: float) -> None:
        self._node = node
        self._idle_ns = int(idle_s * 1e9)
        self._task = asyncio.get_running_loop().create_task(self._run(idle_s / 10))

    def stop(self) -> None:
        """Look no more."""
        self._task.cancel()

    async def _run(self, interval_s: float) -> None:
        machine = self._node.machine
        while isinstance(machine, SessionMachine):
            await asyncio.sleep(interval_s)
            if self._node.is_leader and machine.has_idle_sessions(self._idle_ns, time.time_ns()):
                with contextlib.suppress(MatchEngineError):
                    await self._node.propose(expire_envelope(self._idle_ns))
