"""RaftAdmin, Peer and Cluster over loopback."""

from __future__ import annotations

import asyncio
import re
import time

import grpc
import pytest

from matchengine.errors import NotLeaderError, RefusedError, StoppedError
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Role
from matchengine.service.admin import LINGER_S
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
    (
        "LeadershipTransferToServer",
        pb.LeadershipTransferToServerRequest(id="node2", address="127.0.0.1:7002"),
        ("transfer", "node2"),
        False,
    ),
    ("Barrier", pb.BarrierRequest(), ("barrier", None), True),
    ("Snapshot", pb.SnapshotRequest(), ("snapshot", None), False),
    ("VerifyLeader", pb.VerifyLeaderRequest(), ("verify", None), False),
    ("Shutdown", pb.ShutdownRequest(), ("shutdown", LINGER_S), False),
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
    node.next_error = RefusedError("leadership transfer in progress")
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        outcome = await admin.Await(await getattr(admin, name)(request_))
        assert (outcome.error, outcome.index) == ("leadership transfer in progress", 0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotLeaderError("node2", "127.0.0.1:7002"), "node is not the leader"),
        (StoppedError("the node was asked to stop"), "raft is already shutdown"),
        (
            RefusedError("configuration changed since prev_index: configuration changed since 3 (latest is 5)"),
            "configuration changed since 3 (latest is 5)",
        ),
        (
            RefusedError("invalid membership change: found duplicate address in configuration: h:1"),
            "found duplicate address in configuration: h:1",
        ),
    ],
)
async def test_known_errors_have_their_known_texts(node, serving, error, text):
    node.next_error = error
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        assert (await admin.Await(await admin.Barrier(pb.BarrierRequest()))).error == text


async def test_a_follower_answers_with_the_error_in_the_body(node, serving):
    node.lead(False)
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        outcome = await admin.Await(await admin.VerifyLeader(pb.VerifyLeaderRequest()))
        assert outcome.error == "node is not the leader"
        request = pb.LeadershipTransferToServerRequest(id="node9", address="127.0.0.1:9")
        outcome = await admin.Await(await admin.LeadershipTransferToServer(request))
        assert outcome.error == "node is not the leader"


@pytest.mark.parametrize(
    ("server_id", "address", "text"),
    [
        ("node2", "127.0.0.1:9", "cannot find peer: no member is node2 at 127.0.0.1:9"),
        ("node2", "", "cannot find peer: no member is node2 at "),
        ("node9", "127.0.0.1:7002", "cannot find peer: no member is node9 at 127.0.0.1:7002"),
        ("node1", "127.0.0.1:7001", "cannot transfer leadership to itself"),
    ],
)
async def test_a_transfer_to_no_other_member_is_refused(node, serving, server_id, address, text):
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        request = pb.LeadershipTransferToServerRequest(id=server_id, address=address)
        outcome = await admin.Await(await admin.LeadershipTransferToServer(request))
        assert outcome.error == text
        assert not node.calls


async def test_a_token_of_any_length_is_answered(node, serving, failing):
    async with serving(node) as channel:
        call = RaftAdminStub(channel).Await(pb.Future(operation_token="a" * 100_000))
        text, _ = await failing(call, grpc.StatusCode.NOT_FOUND)
        assert text == f"operation_token: '{'a' * 40}' is unknown; it was forgotten or has expired"


async def test_a_bare_machine_takes_bare_commands(node, serving):
    node.machine = node.machine.inner
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        outcome = await admin.Await(await admin.ApplyLog(pb.ApplyLogRequest(data=b"5", extensions=b"x")))
        assert (outcome.error, outcome.index) == ("", node.index)
        assert (node.machine.sum, node.extensions) == (5, [b"x"])


async def test_a_machine_in_sessions_takes_no_bare_commands(node, serving):
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        outcome = await admin.Await(await admin.ApplyLog(pb.ApplyLogRequest(data=b"5")))
        assert outcome.error.startswith("ApplyLog: this node takes commands in client sessions only")
        assert not node.proposed


async def test_a_node_that_was_shut_down_still_answers(node, serving):
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        await admin.Await(await admin.Shutdown(pb.ShutdownRequest()))
        assert (await admin.State(pb.StateRequest())).state == pb.StateResponse.SHUTDOWN
        assert (await admin.Stats(pb.StatsRequest())).stats["state"] == "Shutdown"
        assert (await ClusterStub(channel).Status(cluster_pb2.StatusRequest())).role == "shutdown"


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


async def done():
    return 7


async def test_tokens_expire():
    now = 0.0
    operations = Operations(lambda: now)
    first = operations.start(done())
    assert await operations.wait(first) == ("", 7)
    now = TOKEN_LIFETIME_S
    with pytest.raises(NotFoundError):
        await operations.wait(first)
    second = operations.start(done())
    assert first != second
    assert await operations.wait(second) == ("", 7)
    operations.forget("never known")


async def test_the_table_is_bounded_and_old_outcomes_make_room():
    """A client that never forgets keeps nobody out; what still runs is not thrown away for it."""
    operations = Operations(lambda: 0.0, limit=3)
    gate = asyncio.Event()

    async def held():
        await gate.wait()
        return 8

    running, ended, newer = operations.start(held()), operations.start(done()), operations.start(done())
    await operations.wait(newer)
    other = operations.start(held())
    with pytest.raises(NotFoundError):
        await operations.wait(ended)
    assert await operations.wait(newer) == ("", 7)
    last = operations.start(held())
    with pytest.raises(BusyError, match="3 operations are running already"):
        operations.start(held())
    gate.set()
    assert [await operations.wait(token) for token in (running, other, last)] == [("", 8)] * 3


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


async def test_stats_have_the_originals_keys(node, serving):
    async with serving(node) as channel:
        stats = (await RaftAdminStub(channel).Stats(pb.StatsRequest())).stats
        assert dict(stats) == {
            "state": "Leader",
            "term": "3",
            "last_log_index": "12",
            "last_log_term": "3",
            "commit_index": "11",
            "applied_index": "10",
            "fsm_pending": "1",
            "last_snapshot_index": "4",
            "last_snapshot_term": "2",
            "latest_configuration_index": "8",
            "latest_configuration": "[{Suffrage:Voter ID:node1 Address:127.0.0.1:7001} "
            "{Suffrage:Voter ID:node2 Address:127.0.0.1:7002} {Suffrage:Nonvoter ID:node3 Address:127.0.0.1:7003}]",
            "num_peers": "1",
            "last_contact": "0",
            "protocol_version": "3",
            "protocol_version_min": "0",
            "protocol_version_max": "3",
            "snapshot_version_min": "0",
            "snapshot_version_max": "1",
        }


@pytest.mark.parametrize(
    ("role", "age_ms", "text"),
    [
        (Role.LEADER, 0, "0"),
        (Role.FOLLOWER, 0, "0ms"),
        (Role.CANDIDATE, 1234, "1234ms"),
        (Role.FOLLOWER, None, "never"),
    ],
)
async def test_last_contact(node, serving, role, age_ms, text):
    node.role, node.last_contact_ms = role, age_ms
    async with serving(node) as channel:
        admin = RaftAdminStub(channel)
        assert (await admin.Stats(pb.StatsRequest())).stats["last_contact"] == text
        earliest = time.time_ns()
        answer = (await admin.LastContact(pb.LastContactRequest())).unix_nano
        latest = time.time_ns()
        if age_ms is None:
            assert answer == 0
        else:
            assert earliest <= answer + age_ms * 1_000_000 <= latest


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
        assert (status.commit_index, status.applied_index, status.snapshot_index) == (node.index + 1, node.index, 4)
        assert status.last_contact_ms == 0
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
