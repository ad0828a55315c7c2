"""The node's logic over a simulated disk, network, worker and clock."""

from __future__ import annotations

import itertools

import pytest
from world import Ledger, Node, Result, World

from matchengine.errors import NotLeaderError, RefusedError, StoppedError, UnknownOutcomeError
from matchengine.node.policy import SnapshotPolicy
from matchengine.node.replica import _Waiting
from matchengine.raft.messages import AppendEntries, InstallSnapshot
from matchengine.raft.proposals import ChangeKind
from matchengine.raft.types import Role, Suffrage
from matchengine.storage.contracts import StorageError


def test_a_command_is_applied_everywhere_and_answered_with_its_result():
    world = World()
    result = world.apply(world.leader(), b"one")
    world.settle(result)
    assert result.outcome.result == b"1"
    world.run(20)
    assert [n.machine.commands for n in world.nodes.values()] == [[b"one"]] * 3


def test_many_commands_are_answered_in_order():
    world = World()
    leader = world.leader()
    results = [world.apply(leader, b"%d" % i) for i in range(500)]
    world.settle(*results)
    assert [r.outcome.result for r in results] == [b"%d" % (i + 1) for i in range(500)]


def test_a_follower_refuses_a_command_and_names_the_leader():
    world = World()
    leader = world.leader()
    world.run(20)
    result = world.apply(world.followers()[0], b"x")
    world.settle(result)
    assert isinstance(result.error, NotLeaderError)
    assert (result.error.leader_id, result.error.leader_address) == (leader.id, leader.address)


def test_acknowledged_commands_survive_the_leader():
    world = World()
    old = world.leader()
    results = [world.apply(old, b"%d" % i) for i in range(20)]
    world.settle(*results)
    old.crash()
    new = world.leader()
    world.settle(world.apply(new, b"after"))
    assert new.machine.commands == [b"%d" % i for i in range(20)] + [b"after"]
    old.start()
    world.run_until(lambda: old.machine.commands == new.machine.commands)


def test_a_deposed_leader_tells_that_the_outcome_is_unknown():
    world = World()
    old = world.leader()
    world.isolate(old.id)
    result = world.apply(old, b"lost")
    world.settle(result)
    assert isinstance(result.error, UnknownOutcomeError)
    world.settle(world.apply(world.leader(), b"kept"))
    world.heal()
    world.run(100)
    assert all(n.machine.commands == [b"kept"] for n in world.nodes.values())


def test_all_nodes_crash_and_come_back_with_everything_acknowledged():
    world = World()
    results = [world.apply(world.leader(), b"%d" % i) for i in range(30)]
    world.settle(*results)
    for node in world.nodes.values():
        node.crash()
    for node in world.nodes.values():
        node.start()
    world.settle(world.apply(world.leader(), b"again"))
    assert world.leader().machine.commands == [b"%d" % i for i in range(30)] + [b"again"]


def test_a_linearizable_read_waits_until_the_index_was_applied():
    world = World()
    leader = world.leader()
    write, read = world.apply(leader, b"one"), Result()
    world.settle(write)
    leader.replica.read_index(read)
    world.settle(read)
    assert read.outcome.index >= write.outcome.index
    follower, arrived = world.followers()[0], Result()
    follower.replica.wait_applied(read.outcome.index, arrived)
    world.settle(arrived)
    assert follower.machine.commands == [b"one"]


def test_an_isolated_leader_answers_no_read():
    world = World()
    leader = world.leader()
    world.isolate(leader.id)
    read = Result()
    leader.replica.read_index(read)
    world.settle(read)
    assert isinstance(read.error, NotLeaderError)


def test_snapshots_are_taken_by_policy_and_compact_the_log():
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=10)
    leader = world.leader()
    for i in range(200):
        world.settle(world.apply(leader, b"%d" % i))
    world.run(50)
    for node in world.nodes.values():
        assert node.disk.snapshots.newest().index >= 150
        assert len(node.disk.entries) < 100


def test_a_follower_that_lags_behind_the_log_gets_a_snapshot_and_the_rest():
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=5)
    leader = world.leader()
    lagging = world.followers()[0]
    lagging.crash()
    for i in range(200):
        world.settle(world.apply(leader, b"%d" % i))
    lagging.start()
    world.run_until(lambda: lagging.machine.commands == leader.machine.commands)
    assert any(isinstance(r, InstallSnapshot) and to == lagging.id for _, to, r in world.sent)


def test_a_restart_restores_the_snapshot_and_replays_the_rest():
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=5)
    leader = world.leader()
    for i in range(120):
        world.settle(world.apply(leader, b"%d" % i))
    world.run(20)
    follower = world.followers()[0]
    follower.crash()
    follower.start()
    world.run_until(lambda: follower.machine.commands == leader.machine.commands)


def _heartbeat_contacts(world: World, name: str, ticks: int) -> bool:
    """Whether the node keeps its leader for ``ticks``: nobody's heartbeat goes unanswered for an election."""
    leader = world.leader()
    world.run(ticks)
    return leader.leads and world.nodes[name].replica.soft_state.leader_id == leader.id


def test_heartbeats_are_answered_while_a_snapshot_is_captured():
    world = World(policy=SnapshotPolicy(entries=50))
    leader = world.leader()
    for node in world.nodes.values():
        node.worker.held = True
    results = [world.apply(leader, b"%d" % i) for i in range(60)]
    term = leader.replica.soft_state.term
    world.run(300)
    assert leader.leads and leader.replica.soft_state.term == term
    for node in world.nodes.values():
        node.worker.release()
    world.settle(*results)


def test_heartbeats_are_answered_while_a_snapshot_is_restored():
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=5)
    leader = world.leader()
    lagging = world.followers()[0]
    lagging.crash()
    for i in range(100):
        world.settle(world.apply(leader, b"%d" % i))
    lagging.start()
    lagging.worker.held = True
    assert _heartbeat_contacts(world, lagging.id, 300)
    lagging.worker.release()
    world.run_until(lambda: lagging.machine.commands == leader.machine.commands)


def test_a_hanging_disk_of_a_follower_costs_no_election():
    world = World()
    leader = world.leader()
    world.run(20)
    term = leader.replica.soft_state.term
    slow = world.followers()[0]
    slow.disk.hanging = True
    world.settle(world.apply(leader, b"x"))
    assert _heartbeat_contacts(world, slow.id, 200)
    assert leader.replica.soft_state.term == term
    slow.disk.release()
    world.run_until(lambda: slow.machine.commands == [b"x"])


def test_a_leader_whose_disk_hangs_makes_way():
    world = World()
    old = world.leader()
    world.run(20)
    old.disk.hanging = True
    world.apply(old, b"x")
    world.run_until(lambda: not old.leads, 100)
    world.run_until(lambda: any(n.leads for n in world.nodes.values() if n is not old))
    new = world.leader()
    assert new is not old
    world.settle(world.apply(new, b"y"))


def test_a_failing_disk_stops_the_node_and_everything_that_waits():
    world = World()
    leader = world.leader()
    leader.disk.error = StorageError("log: fdatasync failed")
    result, read = world.apply(leader, b"x"), Result()
    leader.replica.wait_applied(10**9, read)
    world.settle(result, read)
    assert isinstance(result.error, UnknownOutcomeError)
    assert isinstance(read.error, StoppedError)
    assert "fdatasync failed" in str(leader.failure)
    late = world.apply(leader, b"y")
    assert isinstance(late.error, StoppedError)
    leader.crash()
    world.settle(world.apply(world.leader(), b"z"))


def test_an_exception_of_the_machine_stops_the_node():
    world = World(size=1)
    leader = world.leader()
    leader.machine.poison = b"bad"
    result = world.apply(leader, b"bad")
    world.run_until(lambda: leader.failure is not None)
    assert "poisoned" in str(leader.failure)
    assert isinstance(result.error, UnknownOutcomeError)


def test_a_machine_that_answers_too_little_stops_the_node():
    class Silent(Ledger):
        def apply(self, entries):
            return []

    world = World(size=1, machine=Silent)
    world.apply(world.leader(), b"x")
    world.run_until(lambda: world.nodes["a"].failure is not None)
    assert "0 answers for 1 entries" in str(world.nodes["a"].failure)


def test_leadership_is_handed_over():
    world = World()
    old = world.leader()
    world.run(20)
    target = world.followers()[0]
    result = Result()
    old.replica.transfer_leadership(target.id, result)
    world.settle(result)
    assert result.error is None
    assert world.leader() is target


def test_a_server_is_removed_and_added_again():
    world = World()
    leader = world.leader()
    gone = world.followers()[0]
    removed, added = Result(), Result()
    leader.replica.change_membership(ChangeKind.REMOVE_SERVER, gone.id, "", 0, removed)
    world.settle(removed)
    assert leader.replica.status().configuration.get(gone.id) is None
    leader.replica.change_membership(ChangeKind.ADD_NONVOTER, gone.id, gone.address, 0, added)
    world.settle(added)
    assert leader.replica.status().configuration.get(gone.id).suffrage is Suffrage.NONVOTER
    world.settle(world.apply(leader, b"x"))
    world.run_until(lambda: gone.machine.commands == [b"x"])


def test_an_impossible_change_is_refused_with_its_reason():
    world = World(size=1)
    result = Result()
    world.leader().replica.change_membership(ChangeKind.REMOVE_SERVER, "a", "", 0, result)
    world.settle(result)
    assert isinstance(result.error, RefusedError)
    assert "voter" in str(result.error)


def test_a_snapshot_on_demand_and_a_second_one_with_nothing_new():
    world = World(size=1)
    leader = world.leader()
    world.settle(world.apply(leader, b"x"))
    first, second = Result(), Result()
    leader.replica.snapshot(first)
    world.settle(first)
    assert first.outcome.index == leader.replica.applied
    leader.replica.snapshot(second)
    world.settle(second)
    assert "nothing new" in str(second.error)


def test_a_node_that_has_stopped_fails_its_peers_calls():
    world = World()
    leader = world.leader()
    world.run(20)
    follower = world.followers()[0]
    follower.replica.stop(StoppedError("by hand"))
    world.run(50)
    assert any("by hand" in e for e in world.errors)
    assert leader.leads


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_run(seed):
    def run() -> list[tuple[str, str, str]]:
        world = World(seed=seed)
        old = world.leader()
        world.apply(old, b"x")
        world.run(7)
        old.crash()
        world.settle(world.apply(world.leader(), b"y"))
        return [(a, b, repr(r)) for a, b, r in world.sent]

    assert run() == run()


def test_idle_nodes_send_no_entries():
    world = World()
    world.settle(world.apply(world.leader(), b"x"))
    world.run(50)
    world.sent.clear()
    world.run(100)
    assert world.sent
    assert all(isinstance(r, AppendEntries) and not r.entries for _, _, r in world.sent)


def test_a_long_look_at_the_machine_holds_entries_back_but_no_heartbeats():
    world = World()
    leader = world.leader()
    world.settle(world.apply(leader, b"before"))
    leader.worker.held = True
    seen = Result()
    leader.replica.examine(lambda: list(leader.machine.commands), seen)
    later = world.apply(leader, b"later")
    world.run(100)
    assert not seen.settled and not later.settled and leader.leads
    leader.worker.release()
    world.settle(seen, later)
    assert seen.outcome == (3, [b"before"]) and leader.machine.commands == [b"before", b"later"]


def test_a_look_at_the_machine_ends_with_the_node_or_with_its_own_error():
    world = World()
    leader = world.leader()

    def fail():
        raise ValueError("nothing to see")

    failed, stopped, late = Result(), Result(), Result()
    leader.replica.examine(fail, failed)
    world.settle(failed, world.apply(leader, b"goes on"))
    assert str(failed.error) == "nothing to see"
    leader.worker.held = True
    leader.replica.examine(list, stopped)
    leader.replica.stop(StorageError("enough"))
    leader.worker.release()
    leader.replica.examine(list, late)
    world.run(10)
    assert isinstance(stopped.error, StoppedError) and isinstance(late.error, StoppedError)


def _catches_up_under_load(**limits: int) -> bool:
    """Whether a follower comes back although a snapshot's way to it is longer than five snapshot intervals."""
    world = World(policy=SnapshotPolicy(entries=20), trailing_entries=5, **limits)
    leader = world.leader()
    lagging = world.followers()[0]
    lagging.crash()
    for i in range(100):
        world.settle(world.apply(leader, b"%d" % i))
    world.snapshot_time = 100
    lagging.start()
    for i in range(1000):
        world.apply(leader, b"more%d" % i)
        world.run(1)
    return len(lagging.machine.commands) > len(leader.machine.commands) - 50


def test_a_slow_snapshot_is_not_outrun_by_compaction():
    assert _catches_up_under_load()


def test_without_room_for_what_it_needs_a_follower_stays_behind():
    assert not _catches_up_under_load(max_trailing_bytes=0)


def _restoring(world: World) -> Node:
    """A follower that has received the leader's snapshot, has applied entries before, and is held up restoring it."""
    leader = world.leader()
    lagging = world.followers()[0]
    world.settle(world.apply(leader, b"early"))
    world.run_until(lambda: lagging.machine.commands == [b"early"])
    world.isolate(lagging.id)
    for i in range(100):
        world.settle(world.apply(leader, b"%d" % i))
    lagging.worker.held = True
    world.heal()
    world.run_until(lambda: not lagging.replica.machine_is_readable)
    return lagging


def test_a_snapshot_asked_for_while_one_is_restored_is_answered_with_that_one_in_a_cluster_at_rest():
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=5)
    lagging = _restoring(world)
    asked = Result()
    lagging.replica.snapshot(asked)
    world.run(20)
    assert not asked.settled
    lagging.worker.release()
    world.settle(asked)
    assert asked.outcome.index == lagging.disk.snapshots.newest().index


def test_a_snapshot_asked_for_just_before_a_restore_is_answered_too():
    """It waits for the end of the one before, and that comes while the leader's is restored."""
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=5)
    leader = world.leader()
    lagging = world.followers()[0]
    world.settle(world.apply(leader, b"early"))
    world.run_until(lambda: lagging.machine.commands == [b"early"])
    first, second = Result(), Result()
    lagging.replica.snapshot(first)
    lagging.worker.delay = 2000  # to write it takes long
    world.settle(world.apply(leader, b"later"))
    world.run_until(lambda: lagging.machine.commands == [b"early", b"later"])
    lagging.replica.snapshot(second)
    world.isolate(lagging.id)
    for _ in range(25):
        world.settle(*[world.apply(leader, b"x") for _ in range(5)])
    lagging.worker.delay = 5000  # and to restore the other one even longer
    world.heal()
    world.run_until(lambda: not lagging.replica.machine_is_readable)
    assert not first.settled
    world.settle(first, second, ticks=10000)
    assert first.outcome is not None
    assert second.outcome.index == lagging.disk.snapshots.newest().index


def test_a_read_waits_until_the_restore_of_a_snapshot_has_ended():
    """Although the index was applied before: the machine holds half of one state and half of another."""
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=5)
    lagging = _restoring(world)
    read = Result()
    lagging.replica.wait_applied(1, read)
    world.run(20)
    assert not read.settled
    lagging.worker.release()
    world.settle(read)
    assert read.outcome.index >= lagging.disk.snapshots.newest().index


def test_the_policy_counts_bytes_as_well_as_entries():
    """Ten entries of 1,000 bytes are far from 8,192 entries, but more than 5,000 bytes."""
    world = World(size=1, policy=SnapshotPolicy(bytes=5000))
    leader = world.leader()
    for _ in range(10):
        world.settle(world.apply(leader, b"x" * 1000))
    world.run(10)
    assert leader.disk.snapshots.newest() is not None


def test_the_next_snapshot_is_taken_as_soon_as_the_last_is_written_if_it_is_due_by_then():
    """No entry need follow for that."""
    world = World(size=1, policy=SnapshotPolicy(entries=10))
    leader = world.leader()
    leader.worker.delay = 50
    for _ in range(2):
        world.settle(*[world.apply(leader, b"x") for _ in range(15)])
    applied = leader.replica.applied
    world.run(300)
    assert leader.replica.applied == applied
    assert leader.disk.snapshots.newest().index == applied


def test_a_snapshot_taken_after_a_restore_names_the_members_of_the_restored_one():
    """They are noted from the snapshot: the entry that made them is not applied here."""
    world = World(policy=SnapshotPolicy(entries=50), trailing_entries=5)
    leader = world.leader()
    lagging = world.followers()[0]
    world.isolate(lagging.id)
    added = Result()
    leader.replica.change_membership(ChangeKind.ADD_NONVOTER, "z", "z:1", 0, added)
    world.settle(added)
    for i in range(100):
        world.settle(world.apply(leader, b"%d" % i))
    world.heal()
    world.run_until(lambda: lagging.machine.commands == leader.machine.commands)
    restored = lagging.disk.snapshots.newest()
    world.settle(world.apply(leader, b"one more"))
    world.run_until(lambda: lagging.machine.commands == leader.machine.commands)
    taken = Result()
    lagging.replica.snapshot(taken)
    world.settle(taken)
    newest = lagging.disk.snapshots.newest()
    assert newest.index > restored.index
    assert newest.configuration.get("z") is not None
    assert newest.configuration_index == added.outcome.index


def test_a_call_that_was_answered_is_forgotten():
    """Of every peer's call something is kept until its answer, and nothing afterwards."""
    world = World()
    leader = world.leader()
    results = [world.apply(leader, b"%d" % i) for i in range(50)]
    world.settle(*results)
    world.run(200)
    assert all(len(n.replica._calls) <= 2 for n in world.nodes.values())  # those of this very moment


def test_a_proposal_is_not_done_when_the_entry_at_its_index_is_of_another_term():
    """The last line of defence, should a lost leadership ever not be told: no answer of another leader's entry."""
    world = World(size=1)
    leader = world.leader()
    world.settle(world.apply(leader, b"x"))
    done = Result()
    leader.disk.delay = 5
    world.apply(leader, b"y")
    world.run_until(lambda: leader.replica._waiting)
    (index,) = leader.replica._waiting
    leader.replica._waiting[index] = _Waiting(leader.replica.soft_state.term - 1, done)
    world.settle(done)
    assert isinstance(done.error, NotLeaderError)


@pytest.mark.parametrize("delay", [15, 20, 30, 45])
def test_servers_whose_disks_take_as_long_as_an_election_timeout_elect_a_leader_and_keep_it(delay):
    """The timeout is 20 ticks; an election takes the candidate's write and a voter's."""
    world = World()
    for node in world.nodes.values():
        node.disk.delay = delay
    leader = world.leader()
    world.settle(world.apply(leader, b"x"))
    term = leader.replica.soft_state.term
    assert term <= 6
    results = []
    for i in range(20):
        results.append(world.apply(leader, b"%d" % i))
        world.run(25)
    world.settle(*results)
    assert leader.leads and leader.replica.soft_state.term == term


def test_leadership_is_handed_over_between_slow_disks():
    """The target must have written what is missing, and its vote, within the patience of the old leader."""
    world = World()
    for node in world.nodes.values():
        node.disk.delay = 20
    old = world.leader()
    world.settle(world.apply(old, b"x"))
    world.run(100)
    target, result = world.followers()[0], Result()
    old.replica.transfer_leadership(target.id, result)
    world.settle(result)
    assert result.error is None
    assert world.leader() is target


def test_a_removed_follower_knows_of_it_and_stays_a_follower():
    world = World()
    leader = world.leader()
    gone = world.followers()[0]
    world.settle(world.apply(leader, b"x"))
    world.run(20)
    removed = Result()
    leader.replica.change_membership(ChangeKind.REMOVE_SERVER, gone.id, "", 0, removed)
    world.settle(removed)
    world.run(50)
    world.sent.clear()
    world.run(500)
    status = gone.replica.status()
    assert status.configuration.get(gone.id) is None
    assert status.committed_configuration.get(gone.id) is None
    assert status.role is Role.FOLLOWER
    assert not any(sender == gone.id for sender, _, _ in world.sent)
    assert leader.leads


def _snapshots(world: World) -> dict[str, list[int]]:
    """The indexes at which each node takes a snapshot while 300 commands are applied one by one."""
    taken: dict[str, list[int]] = {name: [] for name in world.nodes}
    for i in range(300):
        world.settle(world.apply(world.leader(), b"%d" % i))
        for name, node in world.nodes.items():
            newest = node.disk.snapshots.newest()
            if newest is not None and newest.index not in taken[name]:
                taken[name].append(newest.index)
    return taken


def test_replicas_take_their_snapshots_at_different_times_each_after_as_many_entries():
    taken = _snapshots(World(policy=SnapshotPolicy(entries=60)))
    assert len({indexes[0] for indexes in taken.values()}) == 3
    for indexes in taken.values():
        assert 30 <= indexes[0] <= 64
        assert all(60 <= later - earlier <= 64 for earlier, later in itertools.pairwise(indexes))


def test_the_head_start_of_a_replica_follows_from_its_id():
    policy = SnapshotPolicy()
    starts = [policy.staggered(f"node{i}").head_start for i in range(100)]
    assert starts == [policy.staggered(f"node{i}").head_start for i in range(100)]
    assert all(0 <= start < 0.5 for start in starts)
    assert len(set(starts)) == 100
    with pytest.raises(ValueError, match=r"snapshot.head_start: 1.0 is not from 0 to below 1"):
        SnapshotPolicy(head_start=1.0)


def test_kills_alone_widen_no_timeout_so_the_next_failover_is_as_short():
    """On an idle machine a leader is followed within two timeouts and an election; no vote is split here."""
    world = World(seed=4)
    for _ in range(10):
        old = world.leader()
        world.settle(world.apply(old, b"x"))
        old.crash()
        began = world.now
        world.run_until(lambda: any(n.leads for n in world.nodes.values()))
        assert world.now - began <= 2 * 20 + 10
        old.start()
        world.run(100)
    assert {n.replica.core.pace.election_timeout for n in world.nodes.values()} == {20}
    assert not any("widened" in text for n in world.nodes.values() for text in n.notices)
