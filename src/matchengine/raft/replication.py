"""What a leader sends to one follower, and when (section 5.3; pipelining: thesis section 10.2.1)."""

from __future__ import annotations

from typing import Final

from matchengine.raft.core import Core
from matchengine.raft.messages import AppendEntries, InstallSnapshot
from matchengine.raft.progress import Mode, Progress
from matchengine.raft.types import SnapshotMeta

#: Heartbeats that one follower may leave unanswered; a new one per interval tells a lost one
#: from a lost leader, but a dead peer must not gather calls.
MAX_HEARTBEATS = 8
# Asked for each follower again and again: to look an enum's member up costs Python 3.11 several times as much.
_REPLICATE: Final = Mode.REPLICATE
#: So often a follower waits for a newer snapshot while nothing is committed: a third of a second and more.
_PATIENCE = 6


def is_due(core: Core, progress: Progress) -> bool:
    """Whether a request with a statement about the log may leave now."""
    if progress.mode is not _REPLICATE:
        return progress.outstanding is None and core.now >= progress.retry_at
    config = core.config
    if (
        progress.inflight_requests >= config.max_inflight_requests
        or progress.inflight_bytes >= config.max_inflight_bytes
    ):
        return False  # the window is full
    if progress.next > core.log.last_index:
        return _news_is_due(core, progress)
    return progress.inflight_requests < config.max_partial_requests or _fills_a_request(core, progress)


def _fills_a_request(core: Core, progress: Progress) -> bool:
    """Whether the entries that wait are at least as many, or as large, as one request may hold."""
    config = core.config
    waiting = core.log.last_index - progress.next + 1
    if waiting >= config.max_append_entries:
        return True
    if waiting * config.max_entry_bytes < config.max_append_bytes:
        return False
    return sum([e.size for e in core.log.slice(progress.next, core.log.last_index)]) >= config.max_append_bytes


def _news_is_due(core: Core, progress: Progress) -> bool:
    """Whether the follower must hear of the commit index although no entries will carry it there.

    A new one goes out soon; the old one is repeated now and then, since a follower that
    restarted has forgotten it and answers heartbeats as if nothing had happened.
    """
    silence = core.now - progress.last_append
    if min(core.log.commit, progress.next - 1) > progress.sent_commit:
        return silence >= core.ticks.commit_interval
    return silence >= core.ticks.heartbeat_timeout // 2


def replicate(core: Core, progress: Progress, read_round: int) -> None:
    """Send what may leave now: at most a window of requests, or one snapshot; afterwards nothing is due.

    The window bounds the rounds, so that no state of a follower can hold the leader here.
    """
    for _ in range(core.config.max_inflight_requests):
        if not is_due(core, progress):
            return
        prev = progress.next - 1
        prev_term = None if progress.agrees_nowhere else core.log.term(prev)
        if prev_term is None:
            _send_snapshot_or_wait(core, progress)
            return
        _send_entries(core, progress, prev, prev_term, read_round)


def asks_anew(core: Core, progress: Progress, rejected: AppendEntries, *, was_probe: bool) -> bool:
    """Whether what is sent next may get another answer: the same again at once helps nobody, whatever a follower says.

    Nor does a snapshot that it has installed: HashiCorp Raft keeps entries that conflict with one,
    and only a snapshot that ends behind its log will help it.
    """
    log = core.log
    if log.snapshot is not None and (progress.agrees_nowhere or log.term(progress.next - 1) is None):
        return log.snapshot.index > progress.match
    return not was_probe or progress.next <= rejected.prev_log_index


def _send_entries(core: Core, progress: Progress, prev: int, prev_term: int, read_round: int) -> None:
    config = core.config
    # Where every place is tried, entries would be sent again and again in vain; without any, prev 0 is a heartbeat.
    is_bare = progress.searches_singly and prev > 0
    entries = () if is_bare else core.log.batch(prev + 1, config.max_append_entries, config.max_append_bytes)
    # Followers of other makes commit up to their own last entry, which need not be ours.
    commit = min(core.log.commit, prev + len(entries))
    request = AppendEntries(core.term, prev, prev_term, entries, commit, progress.session, read_round)
    progress.sent(request, core.now)
    core.outbox.send(progress.server, request)


def _send_snapshot_or_wait(core: Core, progress: Progress) -> None:
    """A server of HashiCorp's restores an older snapshot, and goes back; it waits until one is taken that is not."""
    snapshot = core.log.snapshot
    if snapshot is not None and (
        snapshot.index >= progress.may_have_applied or _no_newer_will_come(core, progress, snapshot)
    ):
        _send_snapshot(core, progress, snapshot)
    else:
        core.outbox.wants_snapshot = True
        progress.fell_behind()  # only a follower that is not in REPLICATE waits
        progress.back_off(core.now, core.ticks.heartbeat_timeout // 2)


def _no_newer_will_come(core: Core, progress: Progress, snapshot: SnapshotMeta) -> bool:
    """Whether it has waited in vain: nothing more is committed, as happens when the others have no majority without it.

    A server of ours that refuses everything has applied nothing behind the snapshot; one of HashiCorp's may be taken
    back by it, and comes forward again with what follows, while without it nothing would go on for ever.
    """
    return core.log.commit <= snapshot.index and progress.failures >= _PATIENCE


def _send_snapshot(core: Core, progress: Progress, snapshot: SnapshotMeta) -> None:
    request = InstallSnapshot(core.term, snapshot, progress.session)
    progress.sent_snapshot(request)
    core.outbox.send(progress.server, request)


def send_heartbeat(core: Core, progress: Progress, read_round: int) -> None:
    """Send proof of leadership, and of this read round, unless too many are unanswered."""
    if progress.heartbeats < MAX_HEARTBEATS:
        progress.heartbeats += 1
        progress.heartbeat_at = core.now + core.ticks.heartbeat_interval
        core.outbox.send(progress.server, AppendEntries(core.term, session=progress.session, round=read_round))
