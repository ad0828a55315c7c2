"""The disk contract on a thread of its own: writes in order, one sync for all that wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

from matchengine.raft.ready import Write
from matchengine.storage.storage import Storage

_Job: TypeAlias = tuple[Write, Callable[[Exception | None], None]]


class DiskThread:
    """Performs writes on ``storage`` off the event loop; after the first error nothing more is written."""

    def __init__(self, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        self._storage = storage
        self._loop = loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="matchengine-disk", daemon=True)
        self._thread.start()

    def submit(self, write: Write, done: Callable[[Exception | None], None]) -> None:
        """See :class:`matchengine.node.contracts.Disk`."""
        self._jobs.put((write, done))

    async def close(self, timeout_s: float = 10.0) -> bool:
        """Let the queued writes finish; returns False when the disk hangs for longer than ``timeout_s``."""
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._thread.join, timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        running = True
        while running:
            jobs, running = self._take()
            if not jobs:
                continue
            error = self._perform([write for write, _ in jobs])
            self._report(jobs, error)
            running = running and error is None

    def _take(self) -> tuple[list[_Job], bool]:
        """Everything that waits (at least one job), and whether to go on afterwards."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if self._jobs.empty():
                return jobs, True
            job = self._jobs.get()
        return jobs, False

    def _perform(self, writes: list[Write]) -> Exception | None:
        try:
            self._storage.perform(writes)
        except Exception as error:  # noqa: BLE001 - any failure is final; the node's logic decides what it means
            return error
        return None

    def _report(self, jobs: list[_Job], error: Exception | None) -> None:
        def report() -> None:
            for _, done in jobs:
                done(error)

        try:
            self._loop.call_soon_threadsafe(report)
        except RuntimeError:
            return  # the loop is closed: nobody is left to hear of it
