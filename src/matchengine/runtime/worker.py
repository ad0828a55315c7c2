"""The worker contract on one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class WorkerThread:
    """Runs one piece of work after the other; see :class:`matchengine.node.contracts.Worker`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="matchengine-worker")

    def run(self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """Run ``work()`` and report on the loop's thread."""

        def finished(future: Future[T]) -> None:
            try:
                self._loop.call_soon_threadsafe(_report, future, done)
            except RuntimeError:
                return  # the loop is closed: nobody is left to hear of it

        self._executor.submit(work).add_done_callback(finished)

    def close(self) -> None:
        """Accept no more work; what runs may end by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _report(future: Future[T], done: Callable[[T | None, Exception | None], None]) -> None:
    if future.cancelled():
        return
    error = future.exception()
    if error is None:
        done(future.result(), None)
    elif isinstance(error, Exception):
        done(None, error)
    else:
        raise error
