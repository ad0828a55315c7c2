"""A cluster of servers without Raft: one log in memory, one server that says that it leads."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from matchengine.raft.types import Entry, EntryType
from matchengine.sessions import (
    SessionLimits,
    SessionMachine,
    close_envelope,
    command_envelope,
    decode_answer,
    keep_alive_envelope,
    open_envelope,
)
from matchengine.v1 import cluster_pb2, machine_pb2
from matchengine.v1.cluster_pb2_grpc import ClusterServicer, add_ClusterServicer_to_server
from matchengine.v1.machine_pb2_grpc import (
    MachineServicer,
    SessionsServicer,
    add_MachineServicer_to_server,
    add_SessionsServicer_to_server,
)

DEFAULT_LIMITS = SessionLimits()


class Recorder:
    """Answers each command with its own bytes and remembers all."""

    def __init__(self):
        self.commands = []

    def apply(self, entries):
        self.commands += [entry.data for entry in entries]
        return [b"did " + entry.data for entry in entries]

    def snapshot(self):
        return iter(())

    def restore(self, chunks):
        raise NotImplementedError

    def query(self, request):
        return b"%d" % len(self.commands)


class FakeCluster:
    """``fault(node, sequence)`` may return "drop" (execute, then break off) or "refuse" (break off at once).

    Streams answer in slices of ``slice_bytes``, unless that is 0, as with nodes from before slices.  ``cut(node,
    position)`` says where to break off, and ``sent`` notes every slice.
    """

    def __init__(self, limits=DEFAULT_LIMITS):
        self.recorder = Recorder()
        self.machine = SessionMachine(self.recorder, limits)
        self.index = 0
        self.nodes = []
        self.leader = None
        self.fault = lambda node, sequence: ""
        self.slice_bytes = 0
        self.cut = lambda node, position: False
        self.sent = []
        self.keep_alives = asyncio.Queue()

    async def add_node(self):
        node = FakeNode(self)
        await node.start()
        self.nodes.append(node)
        self.leader = self.leader or node
        return node

    def apply(self, envelope):
        self.index += 1
        entry = Entry(self.index, 1, EntryType.COMMAND, envelope, b"", self.index)
        return decode_answer(self.machine.apply([entry])[0])

    async def stop(self):
        for node in self.nodes:
            await node.stop()


class FakeNode(SessionsServicer, MachineServicer, ClusterServicer):
    def __init__(self, cluster):
        self.cluster = cluster
        self.awake = asyncio.Event()
        self.awake.set()
        self.streams = 0

    async def start(self):
        self.server = grpc.aio.server()
        add_SessionsServicer_to_server(self, self.server)
        add_MachineServicer_to_server(self, self.server)
        add_ClusterServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        await self.server.start()

    async def stop(self):
        await self.server.stop(None)

    async def _must_lead(self, context):
        await self.awake.wait()
        leader = self.cluster.leader
        if leader is not self:
            if leader is not None:
                context.set_trailing_metadata((("matchengine-leader", leader.address),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not the leader")

    async def Status(self, request, context):
        await self.awake.wait()
        leader = self.cluster.leader
        role = "leader" if leader is self else "follower"
        return cluster_pb2.StatusResponse(role=role, leader_address=leader.address if leader else "")

    async def Open(self, request, context):
        await self._must_lead(context)
        answer = self.cluster.apply(open_envelope(request.client_name))
        return machine_pb2.OpenSessionResponse(session_id=answer.value, status=int(answer.status))

    async def KeepAlive(self, request, context):
        await self._must_lead(context)
        self.cluster.keep_alives.put_nowait(request.session_id)
        answer = self.cluster.apply(keep_alive_envelope(request.session_id))
        return machine_pb2.KeepAliveResponse(status=int(answer.status))

    async def Close(self, request, context):
        await self._must_lead(context)
        answer = self.cluster.apply(close_envelope(request.session_id))
        return machine_pb2.CloseSessionResponse(status=int(answer.status))

    async def Apply(self, request, context):
        await self._must_lead(context)
        if request.command == b"bad":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "command: b'bad' is not to my taste")
        return await self._apply(request, context)

    async def _apply(self, request, context):
        fault = self.cluster.fault(self, request.sequence)
        if fault == "refuse":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not the leader any more")
        if fault == "invalid":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "command: is not to my taste")
        answer = self.cluster.apply(
            command_envelope(request.session_id, request.sequence, request.acknowledged, request.command)
        )
        if fault == "drop":
            await context.abort(grpc.StatusCode.UNKNOWN, "leadership was lost")
        await self.awake.wait()
        return machine_pb2.ApplyResponse(
            sequence=request.sequence + (fault == "mislabel"),
            status=int(answer.status),
            index=answer.value,
            answer=answer.payload,
        )

    async def ApplyStream(self, requests, context):
        self.streams += 1
        async for request in requests:
            await self._must_lead(context)
            response = await self._apply(request, context)
            for part in self._slices(request, response):
                if self.cluster.cut(self, part.position):
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the node is stopping")
                self.cluster.sent.append((self, part.position))
                yield part

    def _slices(self, request, response):
        size = self.cluster.slice_bytes
        if not (size and request.slices and response.answer):
            return [response]
        whole, parts = response.answer, []
        for at in range(request.position, len(whole), size):
            part = machine_pb2.ApplyResponse()
            part.CopyFrom(response)
            part.answer, part.position, part.more = whole[at : at + size], at, at + size < len(whole)
            parts.append(part)
        return parts

    async def Query(self, request, context):
        await self.awake.wait()
        if request.query == b"bad":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "query: 'bad' is none")
        return machine_pb2.QueryResponse(answer=self.cluster.recorder.query(request.query))


@pytest.fixture
def fake_cluster():
    """``async with fake_cluster(3) as cluster``."""

    @contextlib.asynccontextmanager
    async def make(size, **options):
        cluster = FakeCluster(**options)
        try:
            for _ in range(size):
                await cluster.add_node()
            yield cluster
        finally:
            await cluster.stop()

    return make
