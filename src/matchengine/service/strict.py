"""Unary requests whose bytes are no message.

By itself gRPC answers them with UNKNOWN, which promises that a retry helps, and writes a traceback into the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from matchengine.service.errors import InvalidArgumentError, abort

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Behaviour: TypeAlias = Callable[[Any, _Context], Awaitable[Any]]

_NO_MESSAGE: Final = object()


def strict(server: grpc.aio.Server) -> grpc.aio.Server:
    """``server``, for adding services whose unary methods refuse malformed bytes by INVALID_ARGUMENT."""
    return cast("grpc.aio.Server", _StrictServer(server))


class _StrictServer:
    """The part of a server that takes services."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Register ``handlers`` as they are: generated code registers each method by name, too, and that one counts."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the service's methods, the unary ones behind a check."""
        self._server.add_registered_method_handlers(service, {name: _strict(h) for name, h in handlers.items()})


def _strict(handler: Any) -> Any:
    if handler.unary_unary is None:
        return handler
    return grpc.unary_unary_rpc_method_handler(
        _checked(handler.unary_unary), _tolerant(handler.request_deserializer), handler.response_serializer
    )


def _tolerant(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _NO_MESSAGE

    return tolerant


def _checked(behaviour: _Behaviour) -> _Behaviour:
    async def checked(request: Any, context: _Context) -> Any:
        if request is _NO_MESSAGE:
            await abort(context, InvalidArgumentError("request: the bytes are no message of this method"))
        return await behaviour(request, context)

    return checked
