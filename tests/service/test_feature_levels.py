"""Feature levels at the services: what a node announces, how levels are raised, who joins, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from matchengine.errors import NotLeaderError, RefusedError
from matchengine.levels import NEWEST_LIBRARY_LEVEL, Levels
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Server, Suffrage
from matchengine.runtime import feature_levels
from matchengine.service.levels import require_level
from matchengine.sessions import SessionMachine
from matchengine.v1 import cluster_pb2
from matchengine.v1.cluster_pb2_grpc import ClusterServicer, ClusterStub, add_ClusterServicer_to_server

NEWEST = Levels(NEWEST_LIBRARY_LEVEL, 0)
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class Member(ClusterServicer):
    """Announces ``newest``; None is what a program from before feature levels says."""

    def __init__(self, node_id, newest):
        self.status = cluster_pb2.StatusResponse(id=node_id)
        if newest is not None:
            self.status.newest_levels.CopyFrom(wire(newest))
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def Status(self, request, context):
        self.asked.set()
        await self.gate.wait()
        return self.status


@contextlib.asynccontextmanager
async def member(servicer=None):
    """The address of ``servicer``, or of a node that has no Cluster service."""
    server = grpc.aio.server()
    if servicer is not None:
        add_ClusterServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


def wire(levels):
    return cluster_pb2.FeatureLevels(library=levels.library, machine=levels.machine)


def with_members(node, **addresses):
    more = (Server(server_id, address, Suffrage.NONVOTER) for server_id, address in addresses.items())
    node.servers = (Server("node1", "127.0.0.1:7001"), *more)


async def upgraded(channel, levels=None, *, dry_run=False):
    asked = None if levels is None else wire(levels)
    return await ClusterStub(channel).Upgrade(cluster_pb2.UpgradeRequest(levels=asked, dry_run=dry_run))


async def test_status_tells_both_levels(node, serving):
    async with serving(node) as channel:
        node.machine.levels = Levels(0, 2)
        status = await ClusterStub(channel).Status(cluster_pb2.StatusRequest())
        assert (status.active_levels, status.newest_levels) == (wire(Levels(0, 2)), wire(NEWEST))


async def test_a_machine_without_sessions_announces_none_and_has_none_to_raise(node, serving, failing):
    node.machine = node.machine.inner
    async with serving(node) as channel:
        status = await ClusterStub(channel).Status(cluster_pb2.StatusRequest())
        assert not status.HasField("active_levels")
        assert not status.HasField("newest_levels")
        text, _ = await failing(upgraded(channel), PRECONDITION)
        assert "Counter takes commands without client sessions" in text


async def test_the_level_rises_to_what_every_member_can_execute(node, serving):
    other = Member("node2", Levels(NEWEST.library, 3))
    async with member(other) as second, serving(node) as channel:
        with_members(node, node2=second)
        done = await upgraded(channel, dry_run=True)
        assert (done.before, done.after, done.index) == (wire(Levels()), wire(NEWEST), 0)
        assert node.proposed == []
        done = await upgraded(channel)
        assert (done.before, done.after, done.index) == (wire(Levels()), wire(NEWEST), node.index)
        assert [(m.id, m.address, m.newest) for m in done.members] == [
            ("node1", "127.0.0.1:7001", wire(NEWEST)),
            ("node2", second, wire(Levels(NEWEST.library, 3))),
        ]
        assert node.machine.levels == NEWEST
        other.status.newest_levels.machine = 0
        again = await upgraded(channel)
        assert (again.before, again.after, again.index) == (wire(NEWEST), wire(NEWEST), 0)
        assert len(node.proposed) == 1


@pytest.mark.parametrize(
    ("servicer", "words"),
    [
        (lambda: Member("node2", Levels()), "executes up to 0.0"),
        (lambda: Member("node2", None), "executes up to 0.0"),
        (lambda: None, "executes up to 0.0"),
        (lambda: Member("node9", NEWEST), "did not answer; node node9 is there"),
    ],
    ids=["too old", "from before levels", "HashiCorp's", "another node"],
)
async def test_a_member_in_the_way_is_named(node, serving, failing, servicer, words):
    async with member(servicer()) as second, serving(node) as channel:
        with_members(node, node2=second)
        for asked in (None, NEWEST):
            text, _ = await failing(upgraded(channel, asked), PRECONDITION)
            assert text == f"feature level {NEWEST} cannot be put in force, 0.0 stays:\n  node2 at {second} {words}"
    assert node.proposed == []


async def test_a_silent_member_is_named_after_a_deadline(node, serving, failing, monkeypatch):
    monkeypatch.setattr(feature_levels, "ASK_S", 0.05)
    silent = Member("node2", NEWEST)
    silent.gate.clear()
    async with member(silent) as second, serving(node) as channel:
        with_members(node, node2=second)
        text, _ = await failing(upgraded(channel), PRECONDITION)
        assert text.endswith(f"\n  node2 at {second} did not answer")
        silent.gate.set()
    assert node.proposed == []


async def test_members_that_change_meanwhile_are_asked_again(node, serving, failing):
    second = Member("node2", NEWEST)
    second.gate.clear()
    async with member(second) as address, serving(node) as channel:
        with_members(node, node2=address)
        upgrade = asyncio.ensure_future(upgraded(channel))
        await second.asked.wait()
        node.configuration_index += 1
        second.gate.set()
        text, _ = await failing(upgrade, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert "the members changed" in text
        assert node.proposed == []
        await upgraded(channel)
    assert node.machine.levels == NEWEST


async def test_a_follower_sends_to_the_leader(node, serving, failing):
    node.lead(False)
    node.leader_address = "127.0.0.1:7002"
    async with serving(node) as channel:
        _, metadata = await failing(upgraded(channel), grpc.StatusCode.UNAVAILABLE)
        assert metadata["matchengine-leader"] == "127.0.0.1:7002"


@pytest.mark.parametrize("field", ["library", "machine"])
async def test_a_level_out_of_bounds_is_refused_by_name(node, serving, failing, field):
    async with serving(node) as channel:
        request = cluster_pb2.UpgradeRequest(levels=cluster_pb2.FeatureLevels(**{field: 65_536}))
        text, _ = await failing(ClusterStub(channel).Upgrade(request), grpc.StatusCode.INVALID_ARGUMENT)
        assert text == f"levels.{field}: 65536 is above 65535"


# --- joining -------------------------------------------------------------------------------


async def add(node, server_id, address, kind=ChangeKind.ADD_VOTER):
    """The change as the node makes it; returns what was begun."""
    begun = []

    def begin():
        future = asyncio.get_running_loop().create_future()
        future.set_result(type("Outcome", (), {"index": 7}))
        begun.append(server_id)
        return future

    assert await node.feature_levels.change_membership(ChangeMembership(kind, server_id, address), begin) == 7
    return begun


@pytest.mark.parametrize("kind", [ChangeKind.ADD_VOTER, ChangeKind.ADD_NONVOTER])
async def test_a_node_that_is_too_old_is_not_added(node, kind):
    node.machine.levels = Levels(1, 0)
    async with member(Member("node2", None)) as address:
        with pytest.raises(RefusedError) as refused:
            await add(node, "node2", address, kind)
    assert str(refused.value) == (
        f"node2 at {address} executes feature levels up to 0.0, and the cluster's is 1.0; start it with a newer program"
    )


async def test_who_does_not_answer_or_is_another_or_is_new_enough_is_added_as_ever(node):
    node.machine.levels = Levels(1, 0)
    assert await add(node, "node2", "127.0.0.1:1") == ["node2"]
    async with member(Member("node9", None)) as address:
        assert await add(node, "node2", address) == ["node2"]
    async with member(Member("node2", Levels(1, 0))) as address:
        assert await add(node, "node2", address) == ["node2"]


async def test_nobody_is_asked_where_anybody_may_join(node):
    old = Member("node2", None)
    async with member(old) as address:
        await add(node, "node2", address)
        node.machine.levels = Levels(1, 0)
        await add(node, "node2", address, ChangeKind.REMOVE_SERVER)
        node.lead(False)
        await add(node, "node2", address)
    assert not old.asked.is_set()


async def test_changes_begin_in_the_order_of_their_calls_and_not_while_levels_are_raised(node, serving):
    node.machine.levels = Levels(0, 1)
    node.machine.newest_levels = Levels(1, 1)
    second = Member("node2", Levels(1, 1))
    second.gate.clear()
    async with member(second) as address, serving(node) as channel:
        with_members(node, node2=address)
        upgrade = asyncio.ensure_future(upgraded(channel))
        await second.asked.wait()
        old = Member("node3", Levels(0, 1))
        async with member(old) as other:
            adding = asyncio.ensure_future(add(node, "node3", other))
            removing = asyncio.ensure_future(add(node, "node4", "", ChangeKind.REMOVE_SERVER))
            second.gate.set()
            await upgrade
            with pytest.raises(RefusedError, match=r"up to 0\.1, and the cluster's is 1\.1"):
                await adding
            await removing


# --- the edge ------------------------------------------------------------------------------


def test_what_the_level_does_not_have_is_refused_by_name(node):
    node.machine.levels = Levels(1, 2)
    require_level(node, "a list of sessions", library=1)
    require_level(node, "good-till-date orders", machine=2)
    with pytest.raises(RefusedError) as refused:
        require_level(node, "good-till-date orders", library=1, machine=3)
    assert str(refused.value) == (
        "good-till-date orders: this needs feature level 1.3, and the cluster is at 1.2; `matchengine cluster upgrade` "
        "raises it once every member runs a program that is new enough"
    )


def test_a_follower_that_may_lag_leaves_the_answer_to_the_leader(node):
    node.lead(False)
    with pytest.raises(NotLeaderError, match=r"127\.0\.0\.1:7001"):
        require_level(node, "a list of sessions", library=1)


def test_without_sessions_there_are_no_levels(node):
    node.machine = node.machine.inner
    with pytest.raises(RefusedError, match="a list of sessions: this cluster has no feature levels"):
        require_level(node, "a list of sessions", library=1)


@pytest.mark.parametrize(
    ("begin_at", "words"), [(Levels(9, 0), r"9\.0 is above 1\.0"), (Levels(0, 1), r"0\.1 is above 1\.0")]
)
def test_a_founder_begins_at_no_level_that_it_cannot_execute(node, begin_at, words):
    with pytest.raises(ValueError, match=f"feature_level: {words}"):
        feature_levels.FeatureLevels(node, lambda: True, begin_at)
    assert isinstance(node.machine, SessionMachine)


def test_a_founder_without_sessions_has_no_level_to_begin_at(node):
    node.machine = node.machine.inner
    with pytest.raises(ValueError, match=r"feature_level: 0\.0 is for a machine in client sessions"):
        feature_levels.FeatureLevels(node, lambda: True, Levels())
    feature_levels.FeatureLevels(node, lambda: True).begin()
    assert node.proposed == []


async def test_a_founder_that_loses_its_place_begins_again_until_the_level_is_in_force(node):
    founder = feature_levels.FeatureLevels(node, lambda: True)
    node.fail_after = 0
    founder.begin()
    await asyncio.sleep(0)
    assert (founder.must_begin, len(node.proposed), founder.active) == (True, 1, Levels())
    node.fail_after = None
    founder.begin()
    assert (founder.must_begin, len(node.proposed), founder.active) == (False, 2, NEWEST)
    founder.begin()
    assert len(node.proposed) == 2


async def test_who_has_founded_nothing_raises_nothing(node):
    feature_levels.FeatureLevels(node, lambda: False).begin()
    feature_levels.FeatureLevels(node, lambda: True, Levels()).begin()
    assert node.proposed == []
