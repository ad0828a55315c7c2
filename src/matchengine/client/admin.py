"""Administration of a cluster: who is in it, and how each node stands."""

from __future__ import annotations

import asyncio

import grpc

from matchengine.client.channels import Channels
from matchengine.client.contracts import ATTEMPT_S
from matchengine.client.leader import pause
from matchengine.errors import MatchEngineError, RefusedError, UnknownOutcomeError
from matchengine.levels import Levels
from matchengine.v1 import machine_pb2
from matchengine.v1.cluster_pb2 import FeatureLevels, StatusRequest, StatusResponse, UpgradeRequest, UpgradeResponse
from matchengine.v1.cluster_pb2_grpc import ClusterStub
from matchengine.v1.machine_pb2_grpc import SessionsStub
from matchengine.wire import raft_admin_pb2 as pb
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub

_CHANGE_S = 30.0
_REFUSALS = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


class Admin:
    """Calls single nodes by address; every method raises grpc.aio.AioRpcError when the node does not answer."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def status(self, address: str, *, state_hash: bool = False, timeout_s: float = ATTEMPT_S) -> StatusResponse:
        """The node's standing; ``state_hash`` asks for the digest of its state too."""
        stub = ClusterStub(self._channels.get(address))
        response: StatusResponse = await stub.Status(StatusRequest(state_hash=state_hash), timeout=timeout_s)
        return response

    async def try_status(self, address: str) -> StatusResponse | None:
        """The node's standing, or None when it does not answer."""
        try:
            return await self.status(address)
        except grpc.aio.AioRpcError:
            return None

    async def upgrade(self, leader: str, levels: Levels | None = None, *, dry_run: bool = False) -> UpgradeResponse:
        """Raise the cluster's feature levels to ``levels``, or as far as every member can execute them.

        RefusedError names the members that cannot, or that did not answer; the leader may be too old itself.
        """
        request = UpgradeRequest(dry_run=dry_run)
        if levels is not None:
            request.levels.CopyFrom(FeatureLevels(library=levels.library, machine=levels.machine))
        try:
            response: UpgradeResponse = await ClusterStub(self._channels.get(leader)).Upgrade(
                request, timeout=_CHANGE_S
            )
        except grpc.aio.AioRpcError as error:
            raise _upgrade_error(leader, error) from error
        return response

    async def until_joinable(self, leader: str, server_id: str, address: str, timeout_s: float) -> None:
        """Wait until ``address`` answers.

        RefusedError when nothing does in time, or when it is another node or one of another cluster.
        """
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._first_answer(address)
        except TimeoutError:
            raise RefusedError(f"{address} does not answer; a member must run before it is added") from None
        if found is None:
            return
        if found.id != server_id:
            raise RefusedError(f"{address} is node {found.id!r}, not {server_id!r}")
        await self._check_cluster(leader, address)

    async def _first_answer(self, address: str) -> StatusResponse | None:
        """The node's standing; None when it speaks gRPC but is none of ours."""
        while True:
            try:
                return await self.status(address)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return None
            await pause()

    async def _check_cluster(self, leader: str, address: str) -> None:
        """Another cluster's log may have this one's indices and terms: nothing later would tell them apart."""
        ours, theirs = await asyncio.gather(self.configuration(leader), self.configuration(address))
        members = {(server.id, server.address) for server in ours.servers}
        if theirs.servers and members.isdisjoint((server.id, server.address) for server in theirs.servers):
            raise RefusedError(f"{address} belongs to another cluster; stop it and empty its data directory first")

    async def sessions(self, leader: str, *, client_name: str | None = None) -> list[machine_pb2.SessionInfo]:
        """The open sessions in the order in which they were opened; only those of ``client_name``, if it is given."""
        stub, found = SessionsStub(self._channels.get(leader)), list[machine_pb2.SessionInfo]()
        while True:
            after = found[-1].number if found else 0
            request = machine_pb2.ListSessionsRequest(after=after, client_name=client_name)
            page = await stub.List(request, timeout=ATTEMPT_S)
            found += page.sessions
            if not page.more:
                return found

    async def close_session(self, leader: str, number: int) -> None:
        """Close the session that :meth:`sessions` tells with this number; RefusedError when it is not open."""
        await self._close_sessions(leader, machine_pb2.CloseSessionRequest(number=number))

    async def close_sessions_of(self, leader: str, client_name: str) -> int:
        """Close all sessions of clients with this name; returns how many there were."""
        return await self._close_sessions(leader, machine_pb2.CloseSessionRequest(client_name=client_name))

    async def _close_sessions(self, leader: str, request: machine_pb2.CloseSessionRequest) -> int:
        stub = SessionsStub(self._channels.get(leader))
        try:
            response: machine_pb2.CloseSessionResponse = await stub.Close(request, timeout=ATTEMPT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in (*_REFUSALS, grpc.StatusCode.NOT_FOUND):
                raise RefusedError(str(error.details())) from error
            raise
        return response.closed

    async def add_voter(self, leader: str, server_id: str, address: str) -> int:
        """Make a running node a voter; returns the index of the configuration that says so."""
        stub = RaftAdminStub(self._channels.get(leader))
        operation = await stub.AddVoter(pb.AddVoterRequest(id=server_id, address=address), timeout=ATTEMPT_S)
        return await self._await(stub, operation)

    async def add_nonvoter(self, leader: str, server_id: str, address: str) -> int:
        """Make a running node a member without a vote; as :meth:`add_voter`."""
        stub = RaftAdminStub(self._channels.get(leader))
        request = pb.AddNonvoterRequest(id=server_id, address=address)
        return await self._await(stub, await stub.AddNonvoter(request, timeout=ATTEMPT_S))

    async def demote_voter(self, leader: str, server_id: str) -> int:
        """Take a voter's vote away; as :meth:`add_voter`."""
        stub = RaftAdminStub(self._channels.get(leader))
        return await self._await(stub, await stub.DemoteVoter(pb.DemoteVoterRequest(id=server_id), timeout=ATTEMPT_S))

    async def remove_server(self, leader: str, server_id: str) -> int:
        """Take a node out of the cluster; as :meth:`add_voter`."""
        stub = RaftAdminStub(self._channels.get(leader))
        return await self._await(stub, await stub.RemoveServer(pb.RemoveServerRequest(id=server_id), timeout=ATTEMPT_S))

    async def transfer_leadership(self, leader: str) -> None:
        """Hand leadership to the voter that is furthest ahead."""
        stub = RaftAdminStub(self._channels.get(leader))
        await self._await(stub, await stub.LeadershipTransfer(pb.LeadershipTransferRequest(), timeout=ATTEMPT_S))

    async def transfer_leadership_to(self, leader: str, server_id: str, address: str) -> None:
        """Hand leadership to this voter."""
        stub = RaftAdminStub(self._channels.get(leader))
        request = pb.LeadershipTransferToServerRequest(id=server_id, address=address)
        await self._await(stub, await stub.LeadershipTransferToServer(request, timeout=ATTEMPT_S))

    async def snapshot(self, address: str) -> None:
        """Have one node take a snapshot now."""
        stub = RaftAdminStub(self._channels.get(address))
        await self._await(stub, await stub.Snapshot(pb.SnapshotRequest(), timeout=ATTEMPT_S))

    async def configuration(self, address: str) -> pb.GetConfigurationResponse:
        """The members, as the node knows them."""
        stub = RaftAdminStub(self._channels.get(address))
        response: pb.GetConfigurationResponse = await stub.GetConfiguration(
            pb.GetConfigurationRequest(), timeout=ATTEMPT_S
        )
        return response

    async def stats(self, address: str) -> dict[str, str]:
        """The node's standing under HashiCorp Raft's keys; nodes of that library answer, too."""
        response: pb.StatsResponse = await RaftAdminStub(self._channels.get(address)).Stats(
            pb.StatsRequest(), timeout=ATTEMPT_S
        )
        return dict(response.stats)

    async def _await(self, stub: RaftAdminStub, operation: pb.Future) -> int:
        try:
            outcome: pb.AwaitResponse = await stub.Await(operation, timeout=_CHANGE_S)
        except grpc.aio.AioRpcError as error:
            raise MatchEngineError(f"the outcome of the operation is unknown: {error.details()}") from error
        await stub.Forget(operation, timeout=ATTEMPT_S)
        if outcome.error:
            raise RefusedError(outcome.error)
        return outcome.index


def _upgrade_error(leader: str, error: grpc.aio.AioRpcError) -> MatchEngineError:
    text = str(error.details())
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return RefusedError(
            f"the leader at {leader} runs a program that has no feature levels; upgrade that node first"
        )
    if error.code() in _REFUSALS:
        return RefusedError(text)
    if error.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED):
        return UnknownOutcomeError(f"the feature level may still be raised: {text}")
    return MatchEngineError(text)
