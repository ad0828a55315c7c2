"""What gRPC logs about calls whose caller has gone: ordinary, so it leaves no error in a node's log."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

_GRPC = logging.getLogger("grpc._cython.cygrpc")


def quiet_grpc() -> None:
    """Tell of answers that could not be sent at level DEBUG, without a traceback; calling it again changes nothing."""
    _GRPC.addFilter(_without_lost_answers)


def _without_lost_answers(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__name__ != "ExecuteBatchError":  # of a compiled module of gRPC's without types
        return True
    # A client that was cancelled, or whose deadline passed, while it was being answered; gRPC knows that only
    # when it is told of the end of the call before it sends, and logs an error otherwise.
    logger.debug("an answer could not be sent, its caller has gone: %s", record.getMessage())
    return False
