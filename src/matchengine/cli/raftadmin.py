"""``raftadmin``: the methods of the RaftAdmin service from the command line, for all nodes that offer it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Final

import grpc
from cyclopts import Parameter
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from matchengine.cli.exits import Exit
from matchengine.cli.loop import run
from matchengine.client.channels import Channels
from matchengine.client.connect import connect
from matchengine.client.targets import target_addresses
from matchengine.errors import MatchEngineError
from matchengine.wire import raft_admin_pb2 as pb
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub

CONNECT_S: Final = 60.0
_METHODS: Final = pb.DESCRIPTOR.services_by_name["RaftAdmin"].methods_by_name
_MAX_UINT64: Final = 2**64 - 1


def raftadmin(
    *words: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    leader: Annotated[bool, Parameter(name=("--leader", "-leader"), negative="")] = False,
    health_check_service: Annotated[
        str, Parameter(name=("--health_check_service", "-health_check_service"))
    ] = "quis.RaftLeader",
) -> int:
    """Call a method of the RaftAdmin service: `raftadmin <host:port | multi:///a,b,c> <command> <args...>`.

    Example: `matchengine raftadmin --leader multi:///127.0.0.1:50051,127.0.0.1:50052 add_voter nodeB 127.0.0.1:50052 0`

    Without a command it lists all; with too few arguments it says which ones the command takes.

    Parameters
    ----------
    leader
        Call the node that leads, as its health service says.
    health_check_service
        The name under which nodes report leadership.

    """
    try:
        method, request = parse_call(words)
        error = run(invoke(words[0], method, request, health_check_service if leader else ""))
    except (ValueError, MatchEngineError) as failure:
        _log(str(failure))
    except grpc.aio.AioRpcError as failure:
        _log(f"{failure.code().name}: {failure.details()}")
    else:
        return Exit.FAILED if error else Exit.OK
    return Exit.FAILED


def parse_call(words: Sequence[str]) -> tuple[MethodDescriptor, Message]:
    """The method and the request that ``target command args...`` mean; raises ValueError with the usage."""
    if words and words[0].startswith("-"):
        raise ValueError(f"unknown option {words[0]!r}; see raftadmin --help")
    if len(words) < 2:
        commands = ", ".join(sorted(re.sub("(?<!^)(?=[A-Z])", "_", name).lower() for name in _METHODS))
        raise ValueError(f"Usage: raftadmin <host:port> <command> <args...>\nCommands: {commands}")
    command = words[1]
    method = _METHODS.get(command) or _METHODS.get(_camel(command))
    if method is None:
        raise ValueError(f"unknown command {command!r}")
    fields = sorted(method.input_type.fields, key=lambda field: field.number)
    if len(words) != 2 + len(fields):
        raise ValueError(" ".join(["Usage: raftadmin <host:port>", command, *(f"<{f.name}>" for f in fields)]))
    values = {field.name: _value(field, word) for field, word in zip(fields, words[2:], strict=True)}
    request: Message = getattr(pb, method.input_type.name)(**values)
    return method, request


def _camel(command: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split("[_-]", command))


def _value(field: FieldDescriptor, word: str) -> str | bytes | int:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return word.encode("utf-8", "surrogateescape")  # whatever bytes the shell gave
    if field.type == FieldDescriptor.TYPE_STRING:
        return word
    if not re.fullmatch("[0-9]{1,20}", word) or int(word) > _MAX_UINT64:
        raise ValueError(f"{field.name}: {word[:40]!r} is not a whole number from 0 to {_MAX_UINT64}")
    return int(word)


async def invoke(target: str, method: MethodDescriptor, request: Message, health_service: str = "") -> str:
    """Call ``method`` and see the operation that it may begin through; returns the operation's error or ``""``."""
    addresses = target_addresses(target)
    channels = Channels()
    try:
        address = await connect(addresses, channels, CONNECT_S, health_service)
        stub = RaftAdminStub(channels.get(address))
        response = await _call(stub, method.name, request)
        if not isinstance(response, pb.Future):
            return ""
        outcome = await _call(stub, "Await", response)
        await stub.Forget(response)
        return outcome.error if isinstance(outcome, pb.AwaitResponse) else ""
    finally:
        await channels.close()


async def _call(stub: RaftAdminStub, name: str, request: Message) -> Message:
    _log(f"Invoking {name}({_text(request)})")
    response: Message = await getattr(stub, name)(request)
    _log(f"Response: {_text(response)}")
    return response


def _text(message: Message) -> str:
    return text_format.MessageToString(message, force_colon=True)


def _log(text: str) -> None:
    print(time.strftime("%Y/%m/%d %H:%M:%S"), text.rstrip("\n"), file=sys.stderr, flush=True)
