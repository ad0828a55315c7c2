"""Unary requests whose bytes are no message: gRPC's own answer, UNKNOWN, would promise that a retry helps."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from matchengine.service.errors import InvalidArgumentError, abort
from matchengine.transport.strict import strict as strict_for


def strict(server: grpc.aio.Server) -> grpc.aio.Server:
    """``server``, for adding services whose unary methods refuse malformed bytes by INVALID_ARGUMENT."""
    return strict_for(server, _refuse)


async def _refuse(context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    await abort(context, InvalidArgumentError("request: the bytes are no message of this method"))
