"""Handlers of services without sessions, whose requests clients may send again whatever became of them.

The codes are those of ``MarkRetriable`` in github.com/Jille/raft-grpc-leader-rpc, on which its users' retries rely.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

import grpc

from matchengine.errors import BusyError, MatchEngineError, UnknownOutcomeError
from matchengine.service.errors import abort, failure_of

S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")


def retriable(
    method: Callable[[S, Q], Awaitable[R]],
) -> Callable[[S, Q, grpc.aio.ServicerContext[Q, R]], Coroutine[Any, Any, R]]:
    """Like :func:`matchengine.service.errors.unary`, but an unknown outcome or too much work is UNAVAILABLE: try again.

    For requests that may take effect twice; any other belongs in a session.
    """

    @wraps(method)
    async def handler(self: S, request: Q, context: grpc.aio.ServicerContext[Q, R]) -> R:
        try:
            return await method(self, request)
        except (BusyError, UnknownOutcomeError) as error:
            failure = failure_of(error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, failure.text, failure.metadata())
        except MatchEngineError as error:
            await abort(context, error)

    return handler
