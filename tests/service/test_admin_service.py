"""RaftAdmin, Peer and Cluster over loopback."""

from __future__ import annotations

import asyncio
import re

import grpc
import pytest

from matchengine.errors import NotLeaderError, RefusedError
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Role
from matchengine.service.errors import BusyError, NotFoundError
from matchengine.service.operations import TOKEN_LIFETIME_S, Operations
from matchengine.v1 import cluster_pb2
from matchengine.v1.cluster_pb2_grpc import ClusterStub, PeerStub
from matchengine.wire import raft_admin_pb2 as pb
from matchengine.wire.raft_admin_pb2_grpc import RaftAdminStub

INVALID = grpc.StatusCode.INVALID_ARGUMENT


# --- operations ----------------------------------------------------------------------------

CHANGES = [
    (
        "AddVoter",
        pb.AddVoterRequest(id="n4", address="127.0.0.1:7004", previous_index=6),
        ChangeMembership(ChangeKind.ADD_VOTER, "n4", "127.0.0.1:7004", 6),
    ),
    (
        "AddNonvoter",
        pb.AddNonvoterRequest(id="n4", address="[::1]:7004"),
        ChangeMembership(ChangeKind.ADD_NONVOTER, "n4", "[::1]:7004"),
    ),
    ("DemoteVoter", pb.DemoteVoterRequest(id="node2"), ChangeMembership(ChangeKind.DEMOTE_VOTER, "node2")),
    (
        "RemoveServer",
        pb.RemoveServerRequest(id="node2", previous_index=9),
        ChangeMembership(ChangeKind.REMOVE_SERVER, "node2", "", 9),
    ),
]
OTHERS = [
    ("LeadershipTransfer", pb.LeadershipTransferRequest(), ("transfer", None), False),
    ("LeadershipTransferToServer", pb.LeadershipTransferToServerRequest(id="node2"), ("transfer", "node2"), False),
    (
        "LeadershipTransferToServer",
        pb.LeadershipTransferToServerRequest(id="node2", address="127.0.0.1:7002"),
        ("transfer", "node2"),
        False,
    ),
    ("Barrier", pb.BarrierRequest(), ("barrier", None), True),
    ("Snapshot", pb.SnapshotRequest(), ("snapshot", None), False),
    ("VerifyLeader", pb.VerifyLeaderRequest(), ("verify", None), False),
]
OPERATIONS = [(name, request, ("change", change), True) for name, request, change in CHANGES] + OTHERS


@pytest.mark.parametrize(("name", "request_", "called", "has_index"), OPERATIONS)
async def test_an_operation_is_begun_awaited_and_forgotten(node, serving, failing, name, request_, called, has_index):
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        future = await getattr(admin, name)(request_)
        assert re.fullmatch("[0-9a-f]{40}", future.operation_token)
        outcome = await admin.Await(future)
        assert (outcome.error, outcome.index) == ("", node.index if has_index else 0)
        assert node.calls == [called]
        assert await admin.Await(future) == outcome
        await admin.Forget(future)
        text, _ = await failing(admin.Await(future), grpc.StatusCode.NOT_FOUND)
        assert future.operation_token in text


@pytest.mark.parametrize(("name", "request_", "called", "has_index"), OPERATIONS)
async def test_an_operations_error_is_in_the_body(node, serving, name, request_, called, has_index):
    node.next_error = RefusedError("configuration changed since prev_index")
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        outcome = await admin.Await(await getattr(admin, name)(request_))
        assert (outcome.error, outcome.index) == ("configuration changed since prev_index", 0)


async def test_a_follower_answers_with_the_error_in_the_body(node, serving):
    node.lead(False)
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        outcome = await admin.Await(await admin.VerifyLeader(pb.VerifyLeaderRequest()))
        assert outcome.error == "node is not the leader; the leader is node1 at 127.0.0.1:7001"


async def test_a_transfer_to_a_wrong_address_is_refused(node, serving):
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        request = pb.LeadershipTransferToServerRequest(id="node2", address="127.0.0.1:9")
        outcome = await admin.Await(await admin.LeadershipTransferToServer(request))
        assert outcome.error == "address: 127.0.0.1:9 is not that of node2, which is 127.0.0.1:7002"
        assert not node.calls


async def test_await_waits_and_its_own_deadline_harms_nothing(node, serving, failing):
    node.gate = asyncio.Event()
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        future = await admin.Barrier(pb.BarrierRequest())
        await failing(admin.Await(future, timeout=0.05), grpc.StatusCode.DEADLINE_EXCEEDED)
        waiting = admin.Await(future)
        node.gate.set()
        assert (await waiting).index == node.index


async def test_an_operation_forgotten_while_awaited():
    operations = Operations(lambda: 0.0)
    running = asyncio.Event()

    async def endless():
        running.set()
        await asyncio.Event().wait()

    token = operations.start(endless())
    waiting = asyncio.create_task(operations.wait(token))
    await running.wait()
    operations.forget(token)
    assert await waiting == ("the operation was forgotten while it ran", 0)


async def test_the_table_is_bounded_and_tokens_expire():
    now = 0.0
    operations = Operations(lambda: now, limit=2)

    async def done():
        return 7

    first, second = operations.start(done()), operations.start(done())
    assert first != second
    refused = done()
    with pytest.raises(BusyError, match="2 operations are known already"):
        operations.start(refused)
    assert await operations.wait(first) == ("", 7)
    now = TOKEN_LIFETIME_S
    with pytest.raises(NotFoundError):
        await operations.wait(first)
    third = operations.start(done())
    assert await operations.wait(third) == ("", 7)
    operations.forget("never known")


@pytest.mark.parametrize(
    ("name", "request_", "text"),
    [
        ("AddVoter", pb.AddVoterRequest(address="h:1"), "id: '' is empty; it names the server"),
        ("AddVoter", pb.AddVoterRequest(id="n4"), "address: '' is not of the form host:port"),
        ("AddVoter", pb.AddVoterRequest(id="n4", address="h:0"), "address: port '0' is not a number from 1 to 65535"),
        ("AddNonvoter", pb.AddNonvoterRequest(id="n4", address="h"), "address: 'h' is not of the form host:port"),
        (
            "AddNonvoter",
            pb.AddNonvoterRequest(id="n4", address="h" * 1100 + ":1"),
            "address: 1102 bytes are above the limit of 1024",
        ),
        ("DemoteVoter", pb.DemoteVoterRequest(), "id: '' is empty; it names the server"),
        ("RemoveServer", pb.RemoveServerRequest(id="n" * 1025), "id: 1025 bytes are above the limit of 1024"),
        (
            "LeadershipTransferToServer",
            pb.LeadershipTransferToServerRequest(),
            "id: '' is empty; it names the server",
        ),
    ],
)
async def test_bad_requests_are_refused_by_name(node, serving, failing, name, request_, text):
    async with serving(node) as channel:
        assert (await failing(getattr(RaftAdminStub(channel), name)(request_), INVALID))[0] == text
        assert not node.calls


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("ApplyLog", pb.ApplyLogRequest(data=b"x")),
        ("LastContact", pb.LastContactRequest()),
        ("Stats", pb.StatsRequest()),
        ("Shutdown", pb.ShutdownRequest()),
    ],
)
async def test_what_is_not_offered_says_so(node, serving, failing, name, request_):
    async with serving(node) as channel:
        text, _ = await failing(getattr(RaftAdminStub(channel), name)(request_), grpc.StatusCode.UNIMPLEMENTED)
        assert text.startswith(f"{name}: not offered")


# --- reading -------------------------------------------------------------------------------


async def test_reading(node, serving):
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        assert (await admin.Leader(pb.LeaderRequest())).address == "127.0.0.1:7001"
        assert (await admin.AppliedIndex(pb.AppliedIndexRequest())).index == node.index
        assert (await admin.LastIndex(pb.LastIndexRequest())).index == node.index + 2
        servers = (await admin.GetConfiguration(pb.GetConfigurationRequest())).servers
        assert [(s.id, s.address, s.suffrage) for s in servers] == [
            ("node1", "127.0.0.1:7001", pb.GetConfigurationResponse.Server.VOTER),
            ("node2", "127.0.0.1:7002", pb.GetConfigurationResponse.Server.VOTER),
            ("node3", "127.0.0.1:7003", pb.GetConfigurationResponse.Server.NONVOTER),
        ]


@pytest.mark.parametrize(
    ("role", "state"),
    [
        (Role.FOLLOWER, pb.StateResponse.FOLLOWER),
        (Role.PRE_CANDIDATE, pb.StateResponse.CANDIDATE),
        (Role.CANDIDATE, pb.StateResponse.CANDIDATE),
        (Role.LEADER, pb.StateResponse.LEADER),
    ],
)
async def test_state(node, serving, role, state):
    node.role = role
    async with serving(node) as channel:
        assert (await RaftAdminStub(channel).State(pb.StateRequest())).state == state
        status = await ClusterStub(channel).Status(cluster_pb2.StatusRequest())
        assert status.role == role.name.lower()


async def test_status(node, serving):
    async with serving(node) as channel:
        status = await ClusterStub(channel).Status(cluster_pb2.StatusRequest())
        assert (status.id, status.address, status.term) == ("node1", "127.0.0.1:7001", 3)
        assert (status.leader_id, status.leader_address) == ("node1", "127.0.0.1:7001")
        assert (status.first_index, status.last_index) == (1, node.index + 2)
        assert (status.commit_index, status.applied_index, status.snapshot_index) == (node.index, node.index, 4)
        assert (status.fsync_us, status.terms_seen, status.state_hash) == (123.5, 2, b"")
        assert status.resident_bytes > 1_000_000


async def test_state_hash_is_given_when_asked_for(node, serving, failing):
    async with serving(node) as channel:
        stub, request = ClusterStub(channel), cluster_pb2.StatusRequest(state_hash=True)
        assert (await stub.Status(request)).state_hash == b"hash of 0"
        node.machine_is_readable = False
        await failing(stub.Status(request), grpc.StatusCode.RESOURCE_EXHAUSTED)
        await stub.Status(cluster_pb2.StatusRequest())


async def test_a_machine_without_a_hash(node, serving, failing):
    node.machine = object()
    async with serving(node) as channel:
        stub, request = ClusterStub(channel), cluster_pb2.StatusRequest(state_hash=True)
        text, _ = await failing(stub.Status(request), grpc.StatusCode.UNIMPLEMENTED)
        assert text == "state_hash: object has no state hash"


async def test_read_index_for_peers(node, serving, failing):
    async with serving(node) as channel:
        peer = PeerStub(channel)
        assert (await peer.ReadIndex(cluster_pb2.ReadIndexRequest())).index == node.index
        node.next_error = NotLeaderError("node2", "127.0.0.1:7002")
        _, metadata = await failing(peer.ReadIndex(cluster_pb2.ReadIndexRequest()), grpc.StatusCode.UNAVAILABLE)
        assert metadata["matchengine-leader"] == "127.0.0.1:7002"
