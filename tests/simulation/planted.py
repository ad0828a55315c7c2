"""Known bugs, each as a small patch of the product: the simulator has to find every one of them.

Where a bug was reported for another implementation, ``known`` says where.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest
from plants import (
    Plant,
    acknowledge_early,
    always,
    answer_shortly,
    around,
    ask_those_given,
    begin_reads_everywhere,
    believe_in_silence,
    body_unchecked,
    commit_all_that_is_there,
    commit_whatever,
    confirm_with_non_voters,
    consider_any,
    count_themselves,
    execute_again,
    execute_as_a_set,
    expire_by_own_clock,
    finish_without_sync,
    give_back_anyway,
    heartbeat_at_the_door,
    keep_members,
    keep_suffix,
    matched_too_far,
    never,
    never_below_match,
    nothing,
    orders_by_name,
    read_by_lease,
    recall_transfer,
    receive_any,
    remember_host,
    remember_transfer,
    renumber,
    replaced,
    send_the_whole_commit,
    several,
    stamp_no_ops,
    stop_at_broken_snapshot,
    take_back,
    upgrade_without_sync,
    vote_before_term,
    vote_for_everybody,
    write_and_try_again,
    write_frame,
    zero,
)

from matchengine.client.commands import CommandQueue, LoneCommand, Patience
from matchengine.client.search import LeaderSearch
from matchengine.exchange import engine
from matchengine.exchange.engine import MatchingEngine
from matchengine.node.policy import SnapshotPolicy
from matchengine.node.replica import Replica
from matchengine.raft import follower, raft, replication
from matchengine.raft.core import Core
from matchengine.raft.install import Installer
from matchengine.raft.leadership import Leadership
from matchengine.raft.log import RaftLog
from matchengine.raft.pace import Pace
from matchengine.raft.progress import Progress
from matchengine.raft.types import Configuration
from matchengine.raft.writes import Writes
from matchengine.sessions import SessionMachine, snapshot
from matchengine.storage import frames
from matchengine.storage.log import SegmentedLog
from matchengine.storage.segment import Segment
from matchengine.storage.snapshot_file import SnapshotWriter
from matchengine.storage.stable import StableFile
from matchengine.testing.simulator.faults import Fault
from matchengine.testing.simulator.rules import NAMES
from matchengine.testing.simulator.simulation import Plan, Result, run
from matchengine.testing.simulator.witness import Witness
from matchengine.testing.simulator.world import World

F = Fault
ELECTIONS = (F.PARTITION, F.KILL, F.PAUSE, F.ONE_WAY)
LAGGING = (F.PARTITION, F.KILL, F.SNAPSHOT)
READING = (F.PARTITION, F.PAUSE, F.DRIFT)
LOSING = (F.POWER, F.KILL)
MEMBERS = (F.MEMBERSHIP, F.PARTITION, F.KILL)


class Planted(NamedTuple):
    """A bug; ``caught_by`` names the rule that sees most of its histories first.

    ``faults``, ``nodes``, ``steps`` and ``habits`` are those of the runs that look for it, with the seeds from 0 up to
    ``seeds``.
    """

    name: str
    known: str
    caught_by: str
    plant: Plant
    faults: tuple[Fault, ...]
    nodes: int = 3
    steps: int = 8000
    seeds: int = 40
    habits: Callable[[World], None] = lambda _world: None


def find(planted: Planted, seeds: Iterable[int] | None = None, without: tuple[str, ...] = ()) -> Result:
    """The first run that fails with the bug planted, or the last one that does not."""
    with pytest.MonkeyPatch.context() as patch:
        planted.plant(patch)
        around(World, "_choose_habits", lambda choose, world, nodes: (choose(world, nodes), planted.habits(world)))(
            patch
        )
        for seed in seeds if seeds is not None else range(planted.seeds):
            result = run(Plan(seed, planted.steps, planted.nodes, planted.faults, without=without))
            if result.failure is not None:
                break
    return result


def without_bug(planted: Planted) -> Planted:
    """The same runs of the product as it is."""
    return planted._replace(plant=nothing)


def escape(rule: str) -> tuple[Planted, int] | None:
    """A bug and a seed whose run breaks ``rule``, and no other one when ``rule`` is left out."""
    candidates = [planted for planted in PLANTED if planted.caught_by == rule]
    for seed in range(max(planted.seeds for planted in candidates)):
        for planted in candidates:
            seen = find(planted, (seed,)).failure
            if seen is not None and seen.invariant == rule and find(planted, (seed,), (rule,)).failure is None:
                return planted, seed
    return None


def escapes() -> Iterator[str]:
    """The rows of the table of escapes in docs/simulation.md."""
    yield "| rule taken away | escapes | seed |"
    yield "| --- | --- | --- |"
    for rule in NAMES:
        found = escape(rule)
        yield f"| {rule} | {found[0].name} | {found[1]} |" if found else f"| {rule} | NOTHING | |"


def table() -> Iterator[str]:
    """The rows of the table in docs/simulation.md."""
    yield "| bug | known from | seed | CPU time | found by |"
    yield "| --- | --- | --- | --- | --- |"
    for planted in PLANTED:
        started = time.process_time()
        result = find(planted)
        took = time.process_time() - started
        rule = result.failure.invariant if result.failure else "NOT FOUND"
        yield f"| {planted.name} | {planted.known} | {result.plan.seed} | {took:.1f} s | {rule} |"


def print_tables() -> None:
    for line in (*table(), "", *escapes()):
        print(line, flush=True)


# --- clusters in which some bugs show sooner -----------------------------------------------


def calm(world: World) -> None:
    """Little but elections."""
    world.think_us = 2_000_000


def busy(world: World) -> None:
    world.think_us = 60_000


def crowded(world: World) -> None:
    """So much under way that frames get longer than a sector."""
    world.think_us = 15_000


def small_appends(world: World) -> None:
    busy(world)
    world.limits["max_append_entries"] = 1


def short_logs(world: World) -> None:
    busy(world)
    world.policy = SnapshotPolicy(entries=10)
    world.limits |= {"trailing_entries": 0, "max_trailing_bytes": 0}


def tiny_logs(world: World) -> None:
    short_logs(world)
    world.policy = SnapshotPolicy(entries=1)


def long_logs(world: World) -> None:
    busy(world)
    world.policy = SnapshotPolicy(entries=1000)


def learning(world: World) -> None:
    busy(world)
    world.learners = 2


def short_sessions(world: World) -> None:
    world.session_idle_us = 20_000_000


PLANTED = (
    Planted("a vote is answered before it is durable", "PySyncObj#84", "election safety",
            replaced(Writes, "number_of_vote", zero), ELECTIONS),
    Planted("term and vote are never written", "PySyncObj#84, #201", "election safety",
            replaced(Writes, "save", nothing), ELECTIONS),
    Planted("term and vote in two writes, the vote first", "hashicorp/raft#661", "durability",
            replaced(StableFile, "save", vote_before_term), (F.POWER, F.TRANSFER), habits=calm),
    Planted("two votes in one term", "thesis 3.4", "election safety",
            replaced(raft, "answer_vote", vote_for_everybody), ELECTIONS, 5),
    Planted("votes go to logs that are behind", "thesis 3.6.1", "leader completeness",
            replaced(RaftLog, "is_up_to_date", always), ELECTIONS),
    Planted("an earlier term's entry is committed by counting", "figure 8 of the paper", "real majorities",
            replaced(Leadership, "_may_commit", always), ELECTIONS),
    Planted("commit past the last new entry of an append", "seen in hashicorp/raft v1.7.1", "state-machine safety",
            several(replaced(replication, "_send_entries", send_the_whole_commit),
                    around(follower, "_receive_entries", commit_all_that_is_there)),
            (F.PARTITION, F.DRIFT), habits=small_appends),
    Planted("the consistency check is skipped", "thesis 3.5", "log matching",
            replaced(follower, "_agrees", always), ELECTIONS),
    Planted("conflicting entries stay", "thesis 3.5", "state-machine safety",
            replaced(follower, "_first_conflict", zero), ELECTIONS),
    Planted("entries are acknowledged before they are durable", "thesis 3.8", "real majorities",
            replaced(Writes, "number_of_entry", zero), ELECTIONS),
    Planted("a leader counts itself before its own write", "thesis 10.2.1", "real majorities",
            replaced(Leadership, "_match", lambda self, v: self._core.log.last_index if v == self._core.id
                     else self.peers[v].match), (F.HANGING_DISK, F.KILL)),
    Planted("a follower is credited with all that was sent", "raftos#25", "real majorities",
            around(Progress, "matched", matched_too_far), ELECTIONS),
    Planted("followers stamp no-ops themselves", "", "log matching",
            around(RaftLog, "extend", stamp_no_ops), ()),
    Planted("a leader takes back what nobody was sent", "thesis 3.5", "leader append-only",
            around(Leadership, "tick", take_back), (F.DELAY, F.PARTITION, F.SLOW_LINK)),
    Planted("heartbeats are answered outside the state machine", "hashicorp/raft#695", "linearizable reads",
            around(Replica, "receive", heartbeat_at_the_door), READING),
    Planted("the flag of a transfer is left set", "hashicorp/raft#696", "progress",
            several(around(Leadership, "resign", remember_transfer), around(Leadership, "__init__", recall_transfer)),
            (F.TRANSFER, F.PARTITION, F.KILL)),
    Planted("a read is answered before an own-term commit", "thesis 6.4", "linearizable reads",
            replaced(Leadership, "_can_begin_reads", property(lambda self: self.reads.can_begin)),
            (F.KILL, F.DELAY, F.PARTITION, F.HANGING_DISK), habits=busy),
    Planted("a lease without a bound on clocks", "thesis 6.4.1", "linearizable reads",
            around(Leadership, "read", read_by_lease), READING, habits=busy),
    Planted("a leader with a hanging disk keeps its followers", "hashicorp/raft#503", "hanging leader makes way",
            replaced(Core, "write_hangs", property(never)), (F.HANGING_DISK,)),
    Planted("a failed sync is tried again", "fsync failures, ATC 2020", "clear stop",
            replaced(SegmentedLog, "_write", write_and_try_again), (F.SYNC_ERROR, F.POWER)),
    Planted("the log is acknowledged before it is synced", "PySyncObj#84", "clear stop",
            replaced(SegmentedLog, "_write", write_frame), LOSING),
    Planted("a torn tail is taken as good", "ALICE, OSDI 2014", "log matching",
            replaced(frames, "body_of", body_unchecked), (F.POWER, F.TORN_SECTOR), seeds=80, habits=crowded),
    Planted("an upgraded segment gets its name before it is synced", "ALICE, OSDI 2014", "clear stop",
            around(Segment, "cut", upgrade_without_sync), (F.UPGRADE,), habits=busy),
    Planted("a snapshot gets its name before it is synced", "ALICE, OSDI 2014", "clear stop",
            replaced(SnapshotWriter, "finish", finish_without_sync), (F.POWER, F.SNAPSHOT), habits=short_logs),
    Planted("the session table is missing from the snapshot", "thesis 6.3", "state-machine safety",
            replaced(snapshot, "_frozen_sessions", lambda table: iter(())), LAGGING, habits=short_logs),
    Planted("sessions expire by each node's own clock", "thesis 6.3", "state-machine safety",
            several(around(SessionMachine, "_expire", expire_by_own_clock), around(Witness, "__init__", remember_host)),
            (F.CLOCK_JUMP,), 3, 20000, habits=short_sessions),
    Planted("non-voters count as voters", "", "real majorities",
            replaced(Configuration, "voters", lambda self: tuple(s.id for s in self.servers)),
            ELECTIONS, habits=learning),
    Planted("two membership changes at once", "thesis 4.1, 2015 correction", "real majorities",
            replaced(Leadership, "_may_change", always), MEMBERS, 5),
    Planted("a leader that removes itself still counts", "thesis 4.2.2", "real majorities",
            replaced(Leadership, "_advance_commit", count_themselves), (F.MEMBERSHIP, F.PARTITION), seeds=80),
    Planted("apply iterates over a set", "", "state-machine safety",
            around(MatchingEngine, "_begin_orders", execute_as_a_set), ()),
    Planted("the order of a queue is lost in the snapshot", "", "state-machine safety",
            replaced(engine, "_blocks", orders_by_name), LAGGING, habits=short_logs),
    Planted("a repeated command is executed again", "hashicorp/raft#128", "exactly once",
            around(SessionMachine, "_command", execute_again), ELECTIONS),
    Planted("a repeated command gets another answer", "thesis 6.3", "acknowledged commands kept",
            around(SessionMachine, "_command", answer_shortly), ELECTIONS, habits=busy),
    Planted("a command is answered when the leader has it", "Redis-Raft, Jepsen 2020", "acknowledged commands kept",
            around(Replica, "_accepted", acknowledge_early), ELECTIONS),
    Planted("an old snapshot is accepted", "seen in hashicorp/raft v1.7.1", "state-machine safety",
            several(around(Installer, "_consider", consider_any), around(Installer, "received", receive_any)),
            (F.LOSS, F.DUPLICATION, F.SLOW_LINK, F.REORDERING), habits=tiny_logs),
    Planted("a conflicting suffix is kept after a snapshot", "hashicorp/raft#697", "state-machine safety",
            around(Installer, "_install", keep_suffix), (F.PARTITION,), 3, 12000, habits=tiny_logs),
    Planted("late replies of a member that was removed and added again", "raft-rejoin-bug survey", "progress",
            several(replaced(Leadership, "_progress", lambda self, peer, session: self.peers.get(peer)),
                    around(Progress, "rejected", never_below_match)),
            (F.REJOIN,), habits=long_logs),
    Planted("non-voters are counted in a read", "seen in hashicorp/raft v1.7.1", "linearizable reads",
            several(replaced(Leadership, "_begin_reads", begin_reads_everywhere),
                    replaced(Leadership, "_confirm_reads", confirm_with_non_voters),
                    # Timeouts that widen make elections around a paused leader rare; the bug needs one.
                    replaced(Pace, "_adapt", nothing)),
            (F.PAUSE, F.PARTITION), 3, 12000, habits=learning),
    Planted("a client numbers a command anew when it repeats it", "hashicorp/raft#128", "exactly once",
            replaced(CommandQueue, "stream_ended", renumber), ELECTIONS),
    Planted("a command sent alone that failed gives its number back", "", "acknowledged commands kept",
            replaced(LoneCommand, "failed", give_back_anyway), (F.KILL, F.PARTITION, F.LOSS)),
    Planted("a client waits for a node that is silent", "", "progress",
            replaced(Patience, "look", believe_in_silence), (F.PARTITION, F.KILL)),
    Planted("a client does not go where the nodes send it", "", "progress",
            around(LeaderSearch, "_ask", ask_those_given), (F.MEMBERSHIP, F.REJOIN)),
    Planted("a follower commits what it does not hold yet", "raftos#25", "committed in order",
            several(replaced(replication, "_send_entries", send_the_whole_commit),
                    around(follower, "_receive_entries", commit_whatever)),
            (F.DELAY, F.SLOW_LINK), habits=small_appends),
    Planted("a snapshot that breaks off stops the node", "raftify#115", "clear stop",
            replaced(Replica, "_receive_snapshot", stop_at_broken_snapshot),
            (F.BROKEN_STREAM, F.PARTITION), habits=short_logs),
    Planted("the members in a snapshot are ignored", "thesis 5.1", "agreement",
            around(Core, "reset_log", keep_members), (F.MEMBERSHIP, F.PARTITION), habits=short_logs),
)  # fmt: skip
