"""Reflection, so that generic tools can list and call everything that a node serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

#: The same protocol under its later name, which newer tools ask for first.
_ALPHA: Final = "grpc.reflection.v1alpha"
_V1: Final = "grpc.reflection.v1"
_V1_SERVICE: Final = f"{_V1}.ServerReflection"


def add_reflection(server: grpc.aio.Server, names: Sequence[str]) -> None:
    """Describe the services ``names`` and reflection itself, in both of its versions."""
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME, _V1_SERVICE))
    add_ServerReflectionServicer_to_server(servicer, server)
    answer = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler(_V1_SERVICE, {"ServerReflectionInfo": answer})
    server.add_generic_rpc_handlers((handlers,))


def _describe_v1() -> None:
    """Make version 1 known by its own description, which no Python package has: the other's under its name."""
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(_V1_SERVICE)
    except KeyError:
        file = FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        pool.Add(_renamed(file))


def _renamed(file: FileDescriptorProto) -> FileDescriptorProto:
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = _V1
    file.ClearField("options")
    alpha, v1 = f".{_ALPHA}.", f".{_V1}."
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(alpha, v1)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(alpha, v1)
            method.output_type = method.output_type.replace(alpha, v1)
    return file
