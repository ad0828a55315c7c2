"""Read indexes from a leader of our own, and from one that only knows barriers."""

import asyncio
import contextlib

import grpc
import pytest

from matchengine import NotLeaderError
from matchengine.runtime.peers import LeaderReader
from matchengine.v1 import cluster_pb2
from matchengine.v1.cluster_pb2_grpc import PeerServicer, add_PeerServicer_to_server
from matchengine.wire import raft_admin_pb2 as pb
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminServicer, add_RaftAdminServicer_to_server


class Ours(PeerServicer):
    async def ReadIndex(self, request, context):
        return cluster_pb2.ReadIndexResponse(index=5)


class Follower(PeerServicer):
    async def ReadIndex(self, request, context):
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not the leader")


class Foreign(RaftAdminServicer):
    def __init__(self, error="", *, silent=False):
        self.error, self.silent, self.tokens = error, silent, set()

    async def Barrier(self, request, context):
        self.tokens.add("token")
        return pb.Future(operation_token="token")

    async def Await(self, request, context):
        assert request.operation_token in self.tokens
        if self.silent:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        return pb.AwaitResponse(error=self.error, index=0 if self.error else 7)

    async def Forget(self, request, context):
        self.tokens.remove(request.operation_token)
        return pb.ForgetResponse()


@contextlib.asynccontextmanager
async def serving(add, servicer):
    server = grpc.aio.server()
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader = LeaderReader(5.0)
    yield reader.read_index(f"127.0.0.1:{port}")
    await reader.close()
    await server.stop(None)


def read(add, servicer):
    async def main():
        async with serving(add, servicer) as index:
            return await index

    return asyncio.run(main())


def test_a_leader_of_our_own():
    assert read(add_PeerServicer_to_server, Ours()) == 5


def test_a_foreign_leader_is_asked_for_a_barrier():
    foreign = Foreign()
    assert read(add_RaftAdminServicer_to_server, foreign) == 7
    assert foreign.tokens == set()


def test_whoever_does_not_lead_has_no_index():
    with pytest.raises(NotLeaderError):
        read(add_PeerServicer_to_server, Follower())


@pytest.mark.parametrize("foreign", [Foreign("node is not the leader"), Foreign(silent=True)])
def test_a_barrier_that_fails_is_no_index_and_leaves_nothing(foreign):
    with pytest.raises(NotLeaderError):
        read(add_RaftAdminServicer_to_server, foreign)
    assert foreign.tokens == set()
