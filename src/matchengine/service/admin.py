"""The RaftAdmin service, as HashiCorp Raft nodes offer it.

What changes the cluster answers at once with a token; its outcome, errors included, comes from Await.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import grpc

from matchengine.errors import NothingNewError, NotLeaderError, RefusedError
from matchengine.raft.proposals import ChangeKind, ChangeMembership, Reason
from matchengine.raft.types import Role, Server
from matchengine.runtime.config import check_address, check_reachable
from matchengine.service.checks import require_at_most
from matchengine.service.errors import InvalidArgumentError, unary
from matchengine.service.operations import Operation, Operations
from matchengine.service.stats import stats_of
from matchengine.sessions import SessionMachine
from matchengine.wire import raft_admin_pb2 as pb
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminServicer, add_RaftAdminServicer_to_server

if TYPE_CHECKING:
    from matchengine.runtime.node import Node

SERVICE: Final = "RaftAdmin"
MAX_NAME_BYTES: Final = 1024
#: After Shutdown the node still answers for so long: the caller has yet to Await and to Forget.
LINGER_S: Final = 2.0

_STATES: Final = {
    Role.FOLLOWER: pb.StateResponse.FOLLOWER,
    Role.PRE_CANDIDATE: pb.StateResponse.CANDIDATE,
    Role.CANDIDATE: pb.StateResponse.CANDIDATE,
    Role.LEADER: pb.StateResponse.LEADER,
}


class RaftAdminService(RaftAdminServicer):
    """See ``proto/matchengine/wire/raft_admin.proto``."""

    def __init__(self, node: Node, operations: Operations) -> None:
        self._node = node
        self._operations = operations

    # --- changes ---------------------------------------------------------------------------

    @unary
    async def AddVoter(self, request: pb.AddVoterRequest) -> pb.Future:
        """Add a server that votes, or make a known one vote."""
        _check_address(request.address)
        return self._change(ChangeKind.ADD_VOTER, request.id, request.address, request.previous_index)

    @unary
    async def AddNonvoter(self, request: pb.AddNonvoterRequest) -> pb.Future:
        """Add a server that receives the log but does not vote."""
        _check_address(request.address)
        return self._change(ChangeKind.ADD_NONVOTER, request.id, request.address, request.previous_index)

    @unary
    async def DemoteVoter(self, request: pb.DemoteVoterRequest) -> pb.Future:
        """Take a server's vote away."""
        return self._change(ChangeKind.DEMOTE_VOTER, request.id, "", request.previous_index)

    @unary
    async def RemoveServer(self, request: pb.RemoveServerRequest) -> pb.Future:
        """Remove a server from the cluster."""
        return self._change(ChangeKind.REMOVE_SERVER, request.id, "", request.previous_index)

    @unary
    async def LeadershipTransfer(self, _request: pb.LeadershipTransferRequest) -> pb.Future:
        """Hand leadership to the voter that is furthest ahead."""
        return self._start(self._transfer(None))

    @unary
    async def LeadershipTransferToServer(self, request: pb.LeadershipTransferToServerRequest) -> pb.Future:
        """Hand leadership to one voter."""
        _check_id(request.id)
        return self._start(self._transfer_to(request.id, request.address))

    @unary
    async def ApplyLog(self, request: pb.ApplyLogRequest) -> pb.Future:
        """Replicate a bare command; a machine whose commands carry sessions has no use for one."""
        return self._start(self._apply(request.data, request.extensions))

    @unary
    async def Barrier(self, _request: pb.BarrierRequest) -> pb.Future:
        """Wait until everything proposed before has been applied."""
        return self._start(self._node.barrier())

    @unary
    async def Snapshot(self, _request: pb.SnapshotRequest) -> pb.Future:
        """Take a snapshot of this node now."""
        return self._start(self._snapshot())

    @unary
    async def VerifyLeader(self, _request: pb.VerifyLeaderRequest) -> pb.Future:
        """Have a quorum confirm that this node leads."""
        return self._start(self._verify())

    @unary
    async def Shutdown(self, _request: pb.ShutdownRequest) -> pb.Future:
        """End Raft on this node, and soon after the node; a leader hands over first."""
        return self._start(self._shutdown())

    # --- tokens ----------------------------------------------------------------------------

    @unary
    async def Await(self, request: pb.Future) -> pb.AwaitResponse:
        """Wait for an operation; its error is in the body."""
        error, index = await self._operations.wait(request.operation_token)
        return pb.AwaitResponse(error=error, index=index)

    @unary
    async def Forget(self, request: pb.Future) -> pb.ForgetResponse:
        """Drop a token; an unknown one is no error."""
        self._operations.forget(request.operation_token)
        return pb.ForgetResponse()

    # --- reading ---------------------------------------------------------------------------

    @unary
    async def State(self, _request: pb.StateRequest) -> pb.StateResponse:
        """This node's role; a pre-candidate counts as candidate."""
        status = await self._node.status()
        return pb.StateResponse(state=pb.StateResponse.SHUTDOWN if status.is_shut_down else _STATES[status.role])

    @unary
    async def Leader(self, _request: pb.LeaderRequest) -> pb.LeaderResponse:
        """Address of the leader that this node knows, or ``""``."""
        return pb.LeaderResponse(address=self._node.leader_address)

    @unary
    async def GetConfiguration(self, _request: pb.GetConfigurationRequest) -> pb.GetConfigurationResponse:
        """The latest configuration, committed or not."""
        servers = (await self._node.status()).configuration.servers
        return pb.GetConfigurationResponse(servers=[_server(server) for server in servers])

    @unary
    async def AppliedIndex(self, _request: pb.AppliedIndexRequest) -> pb.AppliedIndexResponse:
        """Index of the newest entry that this node has applied."""
        return pb.AppliedIndexResponse(index=(await self._node.status()).applied)

    @unary
    async def LastIndex(self, _request: pb.LastIndexRequest) -> pb.LastIndexResponse:
        """Index of the newest entry in this node's log."""
        return pb.LastIndexResponse(index=(await self._node.status()).last_index)

    @unary
    async def LastContact(self, _request: pb.LastContactRequest) -> pb.LastContactResponse:
        """When a leader was last heard, in ns since the Unix epoch: now on the leader itself, 0 for never."""
        age_ms = (await self._node.status()).last_contact_ms
        return pb.LastContactResponse(unix_nano=0 if age_ms is None else time.time_ns() - age_ms * 1_000_000)

    @unary
    async def Stats(self, _request: pb.StatsRequest) -> pb.StatsResponse:
        """This node's standing in HashiCorp Raft's words."""
        return pb.StatsResponse(stats=stats_of(await self._node.status()))

    # --- the work --------------------------------------------------------------------------

    def _start(self, operation: Operation) -> pb.Future:
        return pb.Future(operation_token=self._operations.start(operation))

    def _change(self, kind: ChangeKind, server_id: str, address: str, prev_index: int) -> pb.Future:
        _check_id(server_id)
        change = ChangeMembership(kind, server_id, address, prev_index)
        return self._start(self._node.change_membership(change))

    async def _transfer(self, target: str | None) -> int:
        await self._node.transfer_leadership(target)
        return 0

    async def _transfer_to(self, server_id: str, address: str) -> int:
        status = await self._node.status()
        if server_id == status.id:
            raise RefusedError("cannot transfer leadership to itself")
        if not self._node.is_leader:
            raise NotLeaderError
        server = status.configuration.get(server_id)
        if server is None or server.address != address:
            raise RefusedError(f"{Reason.NO_TRANSFER_TARGET.value}: no member is {server_id} at {address}")
        return await self._transfer(server_id)

    async def _apply(self, data: bytes, extensions: bytes) -> int:
        if isinstance(self._node.machine, SessionMachine):
            raise RefusedError("ApplyLog: this node takes commands in client sessions only, through its own services")
        return (await self._node.propose(data, extensions)).index

    async def _shutdown(self) -> int:
        await self._node.shutdown(LINGER_S)
        return 0

    async def _snapshot(self) -> int:
        """With nothing new the newest is as good as another of the same state, which HashiCorp Raft would take."""
        try:
            await self._node.snapshot()
        except NothingNewError:
            if not (await self._node.status()).snapshot_index:
                raise
        return 0

    async def _verify(self) -> int:
        await self._node.confirm_read_index()
        return 0


def _check_id(server_id: str) -> None:
    if not server_id:
        raise InvalidArgumentError("id: '' is empty; it names the server")
    require_at_most("id", len(server_id.encode()), MAX_NAME_BYTES, "bytes")


def _check_address(address: str) -> None:
    require_at_most("address", len(address.encode()), MAX_NAME_BYTES, "bytes")
    try:
        check_address("address", address)
        check_reachable("address", address)
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def _server(server: Server) -> pb.GetConfigurationResponse.Server:
    return pb.GetConfigurationResponse.Server(
        suffrage=pb.GetConfigurationResponse.Server.Suffrage.Name(server.suffrage), id=server.id, address=server.address
    )


def add_admin(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Serve the administration of the cluster."""
    operations = Operations(asyncio.get_running_loop().time)
    add_RaftAdminServicer_to_server(RaftAdminService(node, operations), server)
    return (SERVICE,)
