"""The core's parts by themselves: log, progress, quorum, writes, reads, membership."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matchengine.raft.config import FAST, HASHICORP, RaftConfig, Ticks, Timing
from matchengine.raft.configuration import encode_configuration
from matchengine.raft.log import RaftLog
from matchengine.raft.membership import Membership
from matchengine.raft.messages import AppendEntries, InstallSnapshot
from matchengine.raft.progress import Mode, Progress
from matchengine.raft.quorum import is_quorum, majority, reached_by_majority
from matchengine.raft.reads import ReadRounds
from matchengine.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    Restored,
    Server,
    SnapshotMeta,
)
from matchengine.raft.writes import Writes

A, B = Server("a", "a:1"), Server("b", "b:1")


def entries(first: int, *terms: int, size: int = 0) -> tuple[Entry, ...]:
    return tuple(Entry(i, t, data=b"x" * size) for i, t in enumerate(terms, first))


def log_of(*terms: int, snapshot: SnapshotMeta | None = None, first: int = 1, size: int = 0) -> RaftLog:
    return RaftLog(Restored(HardState(), snapshot, entries(first, *terms, size=size)))


# --- quorum -------------------------------------------------------------------------------


@pytest.mark.parametrize(("voters", "enough"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_majority(voters: int, enough: int) -> None:
    """More than half."""
    assert majority(voters) == enough


@given(st.lists(st.integers(0, 9), max_size=9))
def test_what_a_majority_has_reached(values: list[int]) -> None:
    """The definition, spelled out: the largest number that more than half have reached."""
    candidates = [v for v in values if sum(other >= v for other in values) * 2 > len(values)]
    assert reached_by_majority(values) == max(candidates, default=0)


def test_a_quorum_counts_voters_only() -> None:
    """Others may agree as they like; and nobody is no quorum of nobody."""
    assert is_quorum({"a", "b"}, ["a", "b", "c"])
    assert not is_quorum({"a", "x", "y"}, ["a", "b", "c"])
    assert not is_quorum(set(), [])


# --- log ----------------------------------------------------------------------------------


def test_terms_inside_and_outside() -> None:
    """Known for what is held and for the entry before; nothing is guessed."""
    log = log_of(1, 1, 2)
    assert [log.term(i) for i in range(5)] == [0, 1, 1, 2, None]
    behind = log_of(4, 4, snapshot=SnapshotMeta(10, 3, Configuration()), first=11)
    assert [behind.term(i) for i in (9, 10, 11, 12, 13)] == [None, 3, 4, 4, None]
    longer = log_of(3, 3, 4, snapshot=SnapshotMeta(10, 3, Configuration()), first=9)
    assert [longer.term(i) for i in (8, 9, 10, 11)] == [None, 3, 3, 4]
    assert (longer.commit, longer.applied, longer.durable) == (10, 10, 11)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 20), st.integers(0, 60))
def test_batches_respect_both_bounds(sizes: list[int], max_entries: int, max_bytes: int) -> None:
    """As many as fit, and one even if it does not fit."""
    held = tuple(Entry(i, 1, data=b"x" * s) for i, s in enumerate(sizes, 1))
    batch = RaftLog(Restored(HardState(), None, held)).batch(1, max_entries, max_bytes)
    assert batch == held[: len(batch)]
    assert 1 <= len(batch) <= max_entries
    assert len(batch) == 1 or sum(e.size for e in batch) <= max_bytes
    if len(batch) < min(max_entries, len(held)):
        assert sum(e.size for e in held[: len(batch) + 1]) > max_bytes


def test_compaction_by_bytes() -> None:
    """The trailing rest is bounded in bytes as well as in entries."""
    log = log_of(*[1] * 10, size=10)
    log.commit = log.handed = log.applied = 10
    config = RaftConfig("a", "a:1", trailing_entries=5, trailing_bytes=35, max_trailing_bytes=55)
    assert log.compact(SnapshotMeta(8, 1, Configuration()), config, 11) == 5
    assert (log.first_index, log.term(5), log.term(4)) == (6, 1, None)
    assert log.compact(SnapshotMeta(7, 1, Configuration()), config, 11) is None


@pytest.mark.parametrize(("needed", "dropped"), [(11, 5), (6, 5), (5, 4), (4, 3), (3, 3), (1, 3)])
def test_compaction_spares_what_a_follower_needs(needed: int, dropped: int) -> None:
    """Entries that somebody who answers will ask for stay, as far as the longer bound goes."""
    log = log_of(*[1] * 10, size=10)
    log.commit = log.handed = log.applied = 10
    config = RaftConfig("a", "a:1", trailing_entries=5, trailing_bytes=35, max_trailing_bytes=55)
    assert log.compact(SnapshotMeta(8, 1, Configuration()), config, needed) == dropped


def test_truncation_takes_durability_back() -> None:
    """What stands at the index afterwards is not on disk."""
    log = log_of(1, 1, 1)
    log.truncate_from(2)
    assert (log.last_index, log.last_term, log.durable) == (1, 1, 1)


# --- writes -------------------------------------------------------------------------------


def test_a_late_write_does_not_vouch_for_newer_entries() -> None:
    """The same index is written, truncated, and written again; the first completion counts for nothing."""
    log = log_of(1)
    writes = Writes(log)
    log.extend(entries(2, 1, 1))
    first = writes.take(0)
    log.truncate_from(2)
    writes.truncate_from(2)
    log.extend(entries(2, 2, 2))
    assert writes.number_of_entry(3) == 2
    second = writes.take(0)
    assert first is not None
    assert second is not None
    assert (second.truncate_from, [e.term for e in second.entries]) == (2, [2, 2])
    writes.written(1, 0)
    assert log.durable == 1
    writes.written(2, 0)
    assert log.durable == 3


def test_entries_that_were_never_handed_out_need_no_truncation() -> None:
    """The disk does not hear of what came and went between two writes."""
    log = log_of(1)
    writes = Writes(log)
    log.extend(entries(2, 1, 1))
    log.truncate_from(2)
    writes.truncate_from(2)
    log.extend(entries(2, 2))
    write = writes.take(0)
    assert write is not None
    assert (write.truncate_from, write.entries) == (None, entries(2, 2))


def test_a_reset_swallows_what_was_gathered() -> None:
    """Only the snapshot and what follows it is written."""
    log = log_of(1, 1)
    writes = Writes(log)
    log.truncate_from(2)
    writes.truncate_from(2)
    meta = SnapshotMeta(9, 3, Configuration())
    log.reset(meta)
    writes.reset(meta)
    log.extend(entries(10, 3))
    write = writes.take(0)
    assert write is not None
    assert (write.reset, write.truncate_from, write.entries) == (meta, None, entries(10, 3))


def test_a_disk_stalls_while_it_finishes_nothing() -> None:
    """In ticks since the oldest write was handed out, or since another was finished after that."""
    log = log_of(1)
    writes = Writes(log)
    assert writes.stalled_for(5) == 0
    for index, now in ((2, 5), (3, 7), (4, 8)):
        log.extend(entries(index, 1))
        writes.take(now)
    assert writes.stalled_for(9) == 4
    writes.written(1, 20)
    assert writes.stalled_for(29) == 9
    writes.written(2, 30)
    assert writes.stalled_for(30) == 0
    writes.written(3, 31)
    assert writes.stalled_for(99) == 0


# --- progress -----------------------------------------------------------------------------


def append(prev: int, *terms: int) -> AppendEntries:
    return AppendEntries(1, prev, 1, entries(prev + 1, *terms))


def test_a_probe_opens_the_pipeline() -> None:
    """One request until the first success; then next runs ahead of match."""
    progress = Progress(A, 1, 5, 0)
    probe = append(4, 1)
    progress.sent(probe, 0)
    assert progress.outstanding is probe
    progress.returned(probe, 0)
    assert progress.matched(5, probe)
    assert (progress.mode, progress.match, progress.next) == (Mode.REPLICATE, 5, 6)
    progress.sent(append(5, 1, 1), 0)
    assert (progress.next, progress.match, progress.inflight_requests) == (8, 5, 1)


def test_match_never_falls() -> None:
    """Answers in any order."""
    progress = Progress(A, 1, 5, 0)
    assert progress.matched(9, append(4))
    assert not progress.matched(7, append(4))
    assert (progress.match, progress.next) == (9, 10)


def test_a_stale_rejection_changes_nothing() -> None:
    """In PROBE only the probe's own answer counts, in REPLICATE only one beyond match."""
    progress = Progress(A, 1, 5, 0)
    progress.sent(append(4), 0)
    assert not progress.rejected(append(4), 0, 1)
    progress.matched(9, append(4))
    assert not progress.rejected(append(4), 0, 1)
    assert progress.mode is Mode.REPLICATE


def test_steps_back_double_where_the_hint_does_not_help() -> None:
    """1, 2, 4, ...: and never behind what is known to match, nor behind the log's start before all was tried."""
    progress = Progress(A, 1, 101, 0)
    seen = []
    for _ in range(68):
        probe = append(progress.next - 1)
        progress.sent(probe, 0)
        assert progress.rejected(probe, 1000, 40)
        seen.append(progress.next)
    assert seen == [100, 98, 94, 86, 70, 40, *range(100, 38, -1)]


def test_silence_keeps_the_place_of_a_probe() -> None:
    """Nothing is known to match yet, and starting from scratch would be a waste; a pipeline falls back to match."""
    progress = Progress(A, 1, 101, 0)
    probe = append(100)
    progress.sent(probe, 0)
    assert progress.fell_silent(probe)
    assert progress.next == 101
    progress.matched(100, probe)
    progress.sent(append(100, 1, 1), 0)
    assert progress.fell_silent(append(100, 1, 1))
    assert (progress.next, progress.mode) == (101, Mode.PROBE)


def test_back_off_doubles_up_to_a_bound() -> None:
    """In ticks; a success starts over."""
    progress = Progress(A, 1, 1, 0)
    waits = []
    for _ in range(6):
        progress.back_off(100, 10)
        waits.append(progress.retry_at - 100)
    assert waits == [1, 2, 4, 8, 10, 10]
    progress.matched(1, append(0))
    progress.back_off(100, 10)
    assert progress.retry_at == 101


def test_a_snapshot_stands_alone() -> None:
    """Its outcome, and no other, ends SNAPSHOT."""
    progress = Progress(A, 1, 5, 0)
    offer = InstallSnapshot(1, SnapshotMeta(9, 1, Configuration()))
    progress.sent_snapshot(offer)
    assert not progress.fell_silent(append(4))
    progress.matched(4, append(4))
    assert progress.mode is Mode.SNAPSHOT
    assert progress.matched(9, offer)
    assert (progress.mode, progress.next) == (Mode.REPLICATE, 10)


# --- reads, membership, settings ----------------------------------------------------------


def test_many_reads_share_a_round() -> None:
    """All that wait when it begins; later ones get the next, and two may be under way."""
    reads = ReadRounds()
    for key in (1, 2):
        reads.add(key)
    reads.begin(7)
    reads.add(3)
    reads.begin(8)
    reads.add(4)
    assert not reads.can_begin
    assert reads.confirm(0) == []
    assert reads.confirm(1) == [(1, 7), (2, 7)]
    assert reads.can_begin
    assert reads.give_up() == [3, 4]


def test_membership_history() -> None:
    """Latest is in force, committed trails it, a truncation falls back."""
    first = Entry(1, 1, EntryType.CONFIGURATION, encode_configuration(Configuration((A,))))
    members = Membership(Restored(HardState(), None, (first,)))
    assert (members.latest_index, members.committed_index, members.is_settled) == (1, 0, False)
    members.commit(1)
    members.append(5, Configuration((A, B)))
    assert members.voters == ("a", "b")
    assert members.may_stand("a")
    members.append(7, Configuration((B,)))
    assert members.may_stand("a"), "its removal may never be committed"
    members.truncate_from(6)
    members.commit(5)
    assert (members.committed_index, members.is_settled) == (5, True)


def test_profiles_in_ticks() -> None:
    """Rounded up, so that no timeout is shorter than it says."""
    assert Ticks.of(FAST) == Ticks(4, 20, 20, 20, 1)
    assert Ticks.of(HASHICORP) == Ticks(10, 100, 100, 50, 5)
    assert Ticks.of(Timing("odd", 7, 10, 20, 20, 20, 1)) == Ticks(2, 3, 3, 3, 1)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"id": ""}, "id: '' is empty"),
        ({"address": ""}, "address: '' is empty"),
        ({"timing": Timing("x", 0, 1, 9, 9, 9, 1)}, "tick_ms: 0"),
        ({"timing": Timing("x", 1, 0, 9, 9, 9, 1)}, "timing.heartbeat_interval_ms: 0 is below 1"),
        ({"timing": Timing("x", 1, 1, 9, 9, 0, 1)}, "timing.leader_lease_timeout_ms: 0 is below 1"),
        ({"max_append_entries": 0}, "max_append_entries: 0 is below 1"),
        ({"max_inflight_bytes": -1}, "max_inflight_bytes: -1 is below 1"),
        ({"trailing_entries": -1}, "trailing_entries: -1 is below 0"),
        ({"timing": Timing("x", 1, 5, 9, 9, 9, 1)}, "heartbeat_timeout_ms: 9"),
        ({"timing": Timing("x", 1, 1, 9, 8, 8, 1)}, "election_timeout_ms: 8"),
        ({"timing": Timing("x", 1, 1, 9, 9, 10, 1)}, "leader_lease_timeout_ms: 10"),
    ],
)
def test_settings_are_checked_by_name(settings: dict[str, object], text: str) -> None:
    """The message names the setting and the bound."""
    with pytest.raises(ValueError, match=text):
        RaftConfig(**{"id": "a", "address": "a:1", **settings})  # type: ignore[arg-type]
