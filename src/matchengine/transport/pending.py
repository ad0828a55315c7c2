"""A request that waits for its answer, and how calls end without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import grpc

from matchengine.node.contracts import Outcome
from matchengine.raft.messages import Request, Response
from matchengine.transport.wire import WireError

#: The answer to a request out of its message; raises WireError.
Decode: TypeAlias = Callable[[Request, Any], Response]

#: How a call ends without an answer that can be used.
BROKEN: Final = (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError, WireError)


def raise_if_cancelled() -> None:
    """Tell the end of this task from that of its call: gRPC reports status CANCELLED as CancelledError, too."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Pending:
    """Settles an :class:`~matchengine.node.contracts.Outcome` once; what comes later is swallowed."""

    __slots__ = ("_outcome", "_settled", "request", "sent_at")

    def __init__(self, request: Request, outcome: Outcome, sent_at: float) -> None:
        self.request = request
        #: The loop's time when the request was handed over.
        self.sent_at = sent_at
        self._outcome = outcome
        self._settled = False

    def answered(self, response: Response) -> None:
        """The peer answered."""
        if not self._settled:
            self._settled = True
            self._outcome.answered(response)

    def unanswered(self, *, too_old: bool = False) -> None:
        """The call failed."""
        if not self._settled:
            self._settled = True
            self._outcome.unanswered(too_old=too_old)
