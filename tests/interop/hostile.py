"""A node of ours in this process, on a loopback port of its own, and peers around it that say what they like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import grpc

from matchengine.cluster.processes import free_addresses
from matchengine.raft.config import Timing
from matchengine.raft.configuration import encode_configuration
from matchengine.raft.types import Configuration, Entry, Server
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.node import Node
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import (
    RaftTransportServicer,
    RaftTransportStub,
    add_RaftTransportServicer_to_server,
)

PATIENCE_S = 20
#: A node with it stands for election only when it is told to.
PATIENT = Timing("patient", 10, 100, 600_000, 600_000, 600_000, 50)
#: Nobody listens there.
BOSS = Server("boss", "127.0.0.1:1")
OTHER = Server("other", "127.0.0.1:2")
TERM = 5


def header(server: Server = BOSS, version: int = 3) -> pb.RPCHeader:
    """What ``server`` would announce."""
    return pb.RPCHeader(protocol_version=version, id=server.id.encode(), addr=server.address.encode())


class Tally:
    """A state machine that remembers every command."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        self.commands += [entry.data for entry in entries]
        return [b""] * len(entries)

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"\n".join(self.commands)])

    def restore(self, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        self.commands = data.split(b"\n") if data else []


async def until(check: Callable[[], object], what: str) -> None:
    """Wait for a condition, which must come true."""
    for _ in range(PATIENCE_S * 200):
        if check():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Status and text of a call that must fail."""
    try:
        answer = await asyncio.wait_for(call, PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError(f"it was answered: {answer}")


class Victim:
    """Our node, and a raw stub for its transport.  As a follower it follows ``boss``, whose log :meth:`lead` keeps."""

    def __init__(self, folder: Path, timing: Timing = PATIENT, *, bootstrap: bool = False) -> None:
        self.server = Server("a", free_addresses(1)[0])
        self.members = Configuration((Server("a", self.server.address), BOSS, OTHER))
        self.machine = Tally()
        config = NodeConfig("a", self.server.address, folder / "a", timing=timing, bootstrap=bootstrap)
        self.node = Node(config, self.machine)
        self.channel = grpc.aio.insecure_channel(
            self.server.address,
            options=[("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)],
        )
        self.stub = RaftTransportStub(self.channel)

    async def start(self) -> Victim:
        await self.node.start()
        return self

    async def close(self) -> None:
        if self.node.is_leader:  # it would wait for a successor, as long as its timing lets it
            later = pb.AppendEntriesRequest(rpc_header=header(), term=self.status.term + 1, leader=b"h:1")
            await self.stub.AppendEntries(later)
        await self.channel.close()
        await self.node.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # --- what the leader says --------------------------------------------------------------

    async def join(self, term: int = TERM) -> Victim:
        """The first words of the leader: the configuration, and one command."""
        configuration = pb.Log(index=1, term=1, type=pb.Log.LOG_CONFIGURATION, data=encode_configuration(self.members))
        await self.append([configuration], prev=0, term=term)
        await self.lead(term)
        return self

    def request(self, entries: Sequence[pb.Log] = (), prev: int | None = None, **fields: object):
        """An AppendEntries of the leader's; by default it goes on at the end of the log."""
        raft = self.status
        at = raft.last_index if prev is None else prev
        given = {
            "rpc_header": header(),
            "term": max(TERM, raft.term),
            "leader": BOSS.address.encode(),
            "prev_log_entry": at,
            "prev_log_term": raft.last_term if at == raft.last_index else min(at, 1),
            "entries": entries,
            "leader_commit_index": at + len(entries),
        }
        return pb.AppendEntriesRequest(**given | fields)

    async def append(self, entries: Sequence[pb.Log], **fields: object) -> None:
        """Entries that must be taken."""
        answer = await self.stub.AppendEntries(self.request(entries, **fields), timeout=PATIENCE_S)
        assert answer.success, answer

    def entry(self, data: bytes = b"x", **fields: object) -> pb.Log:
        """The next entry, as the leader would write it."""
        raft = self.status
        return pb.Log(**{"index": raft.last_index + 1, "term": max(TERM, raft.term), "data": data} | fields)

    async def lead(self, term: int = TERM) -> None:
        """One more command by the leader, from append to apply: the node is alive and well."""
        entry = self.entry(b"command %d" % self.status.last_index, term=term)
        await self.append([entry], term=term)
        await until(lambda: self.machine.commands[-1:] == [entry.data], "the command is applied")

    # --- what the node says ----------------------------------------------------------------

    @property
    def status(self):
        """The core's own view, with what it believes of its peers."""
        return self.node._engine._replica.status()

    def standing(self) -> tuple[object, ...]:
        """All that a refused message must leave as it is."""
        raft = self.status
        return (
            raft.role,
            raft.term,
            raft.leader_id,
            raft.leader_address,
            raft.last_index,
            raft.last_term,
            raft.commit_index,
            raft.snapshot_index,
            raft.configuration,
            raft.committed_configuration,
            tuple(self.machine.commands),
        )


class ScriptedPeer(RaftTransportServicer):
    """A peer that answers each method by what ``script`` has under its name, or as a good one would.

    A script takes (request, context) and returns the response, or raises; for the pipeline it takes
    (context), and reads and writes itself.
    """

    def __init__(self, server_id: str) -> None:
        self.id = server_id
        self.script: dict[str, Callable[..., Awaitable[object]]] = {}
        self.seen: list[object] = []
        self.patience: dict[str, float | None] = {}
        self._gate = asyncio.Event()
        self.snapshots: list[bytes] = []
        self.terms: dict[int, int] = {0: 0}

    async def start(self) -> ScriptedPeer:
        self._grpc = grpc.aio.server()
        add_RaftTransportServicer_to_server(self, self._grpc)
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        self.server = Server(self.id, f"127.0.0.1:{port}")
        await self._grpc.start()
        return self

    async def close(self) -> None:
        await self._grpc.stop(0)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def header(self) -> pb.RPCHeader:
        return header(self.server)

    async def hold(self, *call: object) -> object:
        """A script: nothing, until :meth:`release`; then what a good peer says."""
        await self._gate.wait()
        goods = {
            pb.AppendEntriesRequest: self.appended,
            pb.RequestVoteRequest: self.granted,
            pb.RequestPreVoteRequest: self.welcomed,
        }
        return goods[type(call[0])](call[0]) if len(call) > 1 else None

    def release(self) -> None:
        """Answer what is held."""
        self._gate.set()

    async def AppendEntries(self, request, context):
        return await self._play("AppendEntries", request, context, self.appended)

    async def RequestVote(self, request, context):
        return await self._play("RequestVote", request, context, self.granted)

    async def RequestPreVote(self, request, context):
        return await self._play("RequestPreVote", request, context, self.welcomed)

    async def TimeoutNow(self, request, context):
        return await self._play("TimeoutNow", request, context, lambda _: pb.TimeoutNowResponse(rpc_header=self.header))

    async def AppendEntriesPipeline(self, request_iterator, context):
        if script := self.script.get("AppendEntriesPipeline"):
            await script(context)
            return
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(await self.AppendEntries(request, context))

    async def InstallSnapshot(self, request_iterator, context):
        first = await context.read()
        self.seen.append(first)
        if script := self.script.get("InstallSnapshot"):
            return await script(first, context)
        data = first.data
        while (message := await context.read()) is not grpc.aio.EOF:
            data += message.data
        self.snapshots.append(data)
        self.terms = {0: 0, first.last_log_index: first.last_log_term}
        return pb.InstallSnapshotResponse(rpc_header=self.header, term=first.term, success=True)

    async def _play(self, method, request, context, otherwise):
        self.seen.append(request)
        self.patience.setdefault(method, context.time_remaining())
        script = self.script.get(method)
        return await script(request, context) if script else otherwise(request)

    def appended(self, request):
        """A good follower's answer; it keeps the terms of what it holds."""
        last = max(self.terms)
        agrees = self.terms.get(request.prev_log_entry) == request.prev_log_term
        if agrees:
            for entry in request.entries:
                self.terms[entry.index] = entry.term
        return pb.AppendEntriesResponse(
            rpc_header=self.header, term=request.term, last_log=last, success=agrees, no_retry_backoff=not agrees
        )

    def granted(self, request):
        return pb.RequestVoteResponse(rpc_header=self.header, term=request.term, granted=True)

    def welcomed(self, request):
        return pb.RequestPreVoteResponse(rpc_header=self.header, term=request.term, granted=True)
