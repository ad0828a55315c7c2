"""Single requests whose bytes are no message.

By itself gRPC answers them with UNKNOWN and a text about its own classes, and writes a traceback into the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Behaviour: TypeAlias = Callable[[Any, _Context], Awaitable[Any]]
#: Ends a call with the status that its service has for such bytes.
Refuse: TypeAlias = Callable[[_Context], Awaitable[NoReturn]]

_NO_MESSAGE: Final = object()


def strict(server: grpc.aio.Server, refuse: Refuse) -> grpc.aio.Server:
    """``server``, for adding services whose methods of one request ``refuse`` malformed bytes."""
    return cast("grpc.aio.Server", _StrictServer(server, refuse))


class _StrictServer:
    """The part of a server that takes services."""

    def __init__(self, server: grpc.aio.Server, refuse: Refuse) -> None:
        self._server = server
        self._refuse = refuse

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Register ``handlers`` as they are: generated code registers each method by name, too, and that one counts."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the service's methods, those of one request behind a check."""
        checked = {name: _strict(handler, self._refuse) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, checked)


def _strict(handler: Any, refuse: Refuse) -> Any:
    if handler.request_streaming:
        return handler
    if handler.response_streaming:
        make, behaviour = grpc.unary_stream_rpc_method_handler, handler.unary_stream
    else:
        make, behaviour = grpc.unary_unary_rpc_method_handler, handler.unary_unary
    return make(_checked(behaviour, refuse), _tolerant(handler.request_deserializer), handler.response_serializer)


def _tolerant(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _NO_MESSAGE

    return tolerant


def _checked(behaviour: _Behaviour, refuse: Refuse) -> _Behaviour:
    async def checked(request: Any, context: _Context) -> Any:
        if request is _NO_MESSAGE:
            await refuse(context)
        return await behaviour(request, context)

    return checked
