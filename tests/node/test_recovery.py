"""Members forced upon the survivors of a lost quorum, over the simulated world."""

from __future__ import annotations

import pytest
from world import Ledger, World

from matchengine.node.policy import SnapshotPolicy
from matchengine.node.recovery import last_position, recover
from matchengine.raft.raft import bootstrap
from matchengine.raft.types import Configuration, Entry, EntryType, HardState, Restored, Server, SnapshotMeta, Suffrage
from matchengine.storage.memory import MemorySnapshots

FORCED = Configuration((Server("a", "a:1"), Server("d", "d:1", Suffrage.NONVOTER)))
FIRST = bootstrap(Configuration((Server("a", "a:1"), Server("b", "b:1")))).entries[0]


def command(index: int, term: int = 1) -> Entry:
    return Entry(index, term, data=b"%d" % index)


def ledger_of(snapshots, meta):
    machine = Ledger()
    machine.restore(snapshots.open(meta))
    return machine.commands


def test_everything_in_the_log_is_applied_and_stands_behind_the_new_members():
    entries = (FIRST, command(2), Entry(3, 2, EntryType.NOOP), command(4, 2), Entry(5, 2, EntryType.BARRIER))
    snapshots = MemorySnapshots()
    found = recover(Restored(HardState(2), None, entries), FORCED, Ledger(), snapshots)
    assert found == SnapshotMeta(5, 2, FORCED, 1, found.size) == snapshots.newest()
    assert ledger_of(snapshots, found) == [b"2", b"4"]


@pytest.mark.parametrize("kept", [3, 6])
def test_a_snapshot_is_gone_on_from(kept):
    """With entries that it covers still in the log, or none."""
    snapshots = MemorySnapshots()
    sink = snapshots.create(SnapshotMeta(5, 2, Configuration((Server("b", "b:1"),)), 4))
    sink.write(b"old\nolder")
    meta = sink.commit()
    entries = tuple(command(n, 2) for n in range(kept, 9))
    found = recover(Restored(HardState(2), meta, entries), FORCED, Ledger(), snapshots)
    assert (found.index, found.term, found.configuration) == (8, 2, FORCED)
    assert ledger_of(snapshots, found) == [b"old", b"older", b"6", b"7", b"8"]


def test_a_recovery_that_a_crash_cut_short_is_the_same_the_second_time():
    """The snapshot is there, and the log still is, too; or only the snapshot."""
    snapshots = MemorySnapshots()
    entries = (FIRST, *(command(n) for n in range(2, 3000)))
    first = recover(Restored(HardState(1), None, entries), FORCED, Ledger(), snapshots)
    for left in (entries, ()):
        again = recover(Restored(HardState(1), snapshots.newest(), left), FORCED, Ledger(), snapshots)
        assert again == first
        assert len(ledger_of(snapshots, again)) == 2998


def test_nothing_is_not_recovered():
    snapshots = MemorySnapshots()
    with pytest.raises(ValueError, match="neither entries nor a snapshot"):
        recover(Restored(HardState(3, "b")), FORCED, Ledger(), snapshots)
    assert snapshots.newest() is None
    assert last_position(Restored(HardState(3))) == (0, 0)


# --- in a cluster ---------------------------------------------------------------------------


def force(world, node, *names):
    """What a start with a peers.json that names ``names`` does to the disk of ``node``."""
    members = Configuration(tuple(Server(name, f"{name}:1") for name in names))
    recover(node.disk.restored(), members, world.machine(), node.disk.snapshots)
    node.disk.entries = []
    node.start()


def lose(world, *names):
    for name in names:
        world.nodes[name].crash()


def test_one_survivor_leads_alone_and_takes_new_members():
    world = World()
    leader = world.leader()
    world.settle(*(world.apply(leader, b"%d" % n) for n in range(10)))
    world.run(30)
    lose(world, "a", "b", "c")
    survivor = world.nodes["b"]
    force(world, survivor, "b")
    assert world.leader() is survivor
    world.settle(world.apply(survivor, b"on"))
    assert survivor.machine.commands == [b"%d" % n for n in range(10)] + [b"on"]
    assert survivor.replica.status().configuration.voters() == ("b",)


def test_two_survivors_go_on_together():
    world = World(5)
    leader = world.leader()
    behind = next(n for n in world.nodes.values() if n is not leader)
    world.isolate(behind.id)
    world.settle(*(world.apply(leader, b"%d" % n) for n in range(10)))
    world.heal()
    lose(world, *world.nodes)
    for node in (leader, behind):
        force(world, node, leader.id, behind.id)
    assert world.leader() is leader, "the one that was behind gets no vote"
    world.settle(world.apply(leader, b"on"))
    world.run_until(lambda: behind.machine.commands == leader.machine.commands)
    assert leader.machine.commands == [b"%d" % n for n in range(10)] + [b"on"]


def test_survivors_of_different_histories_never_mix_them():
    """One had led alone, without a quorum, and its entries went into its snapshot; the others are of a newer term.

    The longer log is the older one: its compacted part must not pass for the leader's.
    """
    world = World(5, policy=SnapshotPolicy(entries=50))
    old = world.leader()
    world.isolate(old.id)
    never = [b"never acknowledged %d" % n for n in range(40)]
    for data in never:
        world.apply(old, data)
    others = [n for n in world.nodes.values() if n is not old]
    world.run_until(lambda: any(n.leads for n in others))
    new = next(n for n in others if n.leads)
    world.settle(world.apply(new, b"acknowledged"))
    world.run(30)
    world.heal()
    lose(world, *world.nodes)
    survivors = [old, *others[:2]]
    for node in survivors:
        force(world, node, *(n.id for n in survivors))

    leader = world.leader()
    assert leader is not old
    world.settle(*(world.apply(leader, b"%d" % n) for n in range(60)))
    world.run(100)
    assert any("is committed here with another term" in error for error in world.errors)
    assert old.machine.commands == never, "it stands still"

    old.crash()
    old.disk.hard_state, old.disk.entries, old.disk.snapshots = HardState(), [], MemorySnapshots()
    old.start()
    world.run_until(lambda: old.machine.commands == leader.machine.commands)
    assert old.machine.commands == [b"acknowledged", *(b"%d" % n for n in range(60))]
