"""How failures reach a client: one place that turns errors into gRPC status codes.

The codes are about transport only and are described in ``proto/matchengine/v1/machine.proto``.  The
trailing metadata tells programs what the code alone does not: :data:`REASON_KEY` holds one of
the words of :class:`FailureReason`, :data:`LEADER_KEY` the leader's address when it is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from functools import wraps
from typing import Any, Final, NoReturn, TypeVar

import grpc
import msgspec

from matchengine.errors import (
    BusyError,
    MatchEngineError,
    NotLeaderError,
    RefusedError,
    StoppedError,
    UnknownOutcomeError,
)

S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")

LEADER_KEY: Final = "matchengine-leader"
REASON_KEY: Final = "matchengine-reason"


class InvalidArgumentError(MatchEngineError):
    """A request breaks a rule; the text names the field, the value and the rule."""


class NotFoundError(MatchEngineError):
    """A request names something that does not exist; the text names the field and the value."""


class UnsupportedError(MatchEngineError):
    """This node offers no such thing; the text says what is missing."""


class TooLargeError(MatchEngineError):
    """The command took effect, but its answer does not fit the one response that the request allows."""


class FailureReason(StrEnum):
    """Values of the trailing metadata :data:`REASON_KEY`."""

    NOT_LEADER = "not-leader"
    NO_QUORUM = "no-quorum"
    UNKNOWN_OUTCOME = "unknown-outcome"
    BUSY = "busy"
    REFUSED = "refused"
    STOPPED = "stopped"
    INVALID = "invalid"
    NOT_FOUND = "not-found"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too-large"


class Failure(msgspec.Struct, frozen=True):
    """What a client is told."""

    code: grpc.StatusCode
    reason: FailureReason
    text: str
    leader: str = ""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The trailing metadata."""
        reason = (REASON_KEY, self.reason.value)
        return (reason, (LEADER_KEY, self.leader)) if self.leader else (reason,)


#: More specific classes come first.
_CODES: Final[tuple[tuple[type[MatchEngineError], grpc.StatusCode, FailureReason], ...]] = (
    (InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT, FailureReason.INVALID),
    (NotFoundError, grpc.StatusCode.NOT_FOUND, FailureReason.NOT_FOUND),
    (UnsupportedError, grpc.StatusCode.UNIMPLEMENTED, FailureReason.UNSUPPORTED),
    (TooLargeError, grpc.StatusCode.OUT_OF_RANGE, FailureReason.TOO_LARGE),
    (UnknownOutcomeError, grpc.StatusCode.UNKNOWN, FailureReason.UNKNOWN_OUTCOME),
    (BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED, FailureReason.BUSY),
    (RefusedError, grpc.StatusCode.FAILED_PRECONDITION, FailureReason.REFUSED),
    (StoppedError, grpc.StatusCode.UNAVAILABLE, FailureReason.STOPPED),
)


def failure_of(error: MatchEngineError) -> Failure:
    """What a client is told about ``error``; an error of no known class has an unknown outcome."""
    if isinstance(error, NotLeaderError):
        reason = FailureReason.NOT_LEADER if error.leader_address else FailureReason.NO_QUORUM
        return Failure(grpc.StatusCode.UNAVAILABLE, reason, str(error), error.leader_address)
    for kind, code, reason in _CODES:
        if isinstance(error, kind):
            return Failure(code, reason, str(error))
    return Failure(grpc.StatusCode.UNKNOWN, FailureReason.UNKNOWN_OUTCOME, str(error))


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: MatchEngineError) -> NoReturn:
    """End the call with the status of ``error``."""
    failure = failure_of(error)
    await context.abort(failure.code, failure.text, failure.metadata())


def unary(
    method: Callable[[S, Q], Awaitable[R]],
) -> Callable[[S, Q, grpc.aio.ServicerContext[Q, R]], Coroutine[Any, Any, R]]:
    """Make a gRPC handler of a method that maps a request to its response or raises."""

    @wraps(method)
    async def handler(self: S, request: Q, context: grpc.aio.ServicerContext[Q, R]) -> R:
        try:
            return await method(self, request)
        except MatchEngineError as error:
            await abort(context, error)

    return handler
