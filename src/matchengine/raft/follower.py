"""How a server takes entries from a leader (section 5.3).

Rules of this file.  A committed entry is never replaced: a leader that wants to is refused.
``leader_commit`` counts only as far as this request proves the logs equal.
"""

from __future__ import annotations

from matchengine.raft.core import Core
from matchengine.raft.membership import configurations_in
from matchengine.raft.messages import AppendEntries, AppendEntriesResponse, InstallSnapshot, Received
from matchengine.raft.types import Entry, EntryType, Index, Role

_KNOWN_TYPES = frozenset((EntryType.COMMAND, EntryType.NOOP, EntryType.BARRIER, EntryType.CONFIGURATION))


def accept_leader(core: Core, received: Received, request: AppendEntries | InstallSnapshot) -> bool:
    """Follow the sender, whose term is not below ours; False when this cannot be and the call was failed."""
    if request.term == core.term and core.role is Role.LEADER:
        core.contradict(received.token, f"{core.id} is the leader of term {core.term} itself")
        return False
    if request.term > core.term or core.role is not Role.FOLLOWER or core.leader_id != received.sender:
        core.follow(request.term, received.sender, received.sender_address)
        core.leader_is_nameless = received.is_nameless
    core.pace.heard(request.term, received.sender, core.now)
    return True


def receive_append(core: Core, received: Received, request: AppendEntries) -> None:
    """Answer an AppendEntries call."""
    last = core.log.last_index
    if request.term < core.term:
        core.pace.heard_late(request.term, received.sender, core.now)
        core.respond(received.token, AppendEntriesResponse(core.term, last, False))
    elif not accept_leader(core, received, request):
        return
    elif request.is_heartbeat:
        core.hear()
        core.respond(received.token, AppendEntriesResponse(core.term, last, True))
    else:
        _receive_entries(core, received.token, request)


def _receive_entries(core: Core, token: int, request: AppendEntries) -> None:
    log = core.log
    last = log.last_index
    try:
        _check(request)
        configurations = configurations_in(request.entries)
    except ValueError as error:
        core.contradict(token, str(error))
        return
    if not _agrees(core, request):
        core.respond(token, AppendEntriesResponse(core.term, last, False, True))
        return
    conflict = _first_conflict(core, request)
    proven = request.prev_log_index + len(request.entries)
    if conflict and conflict <= log.commit:
        core.contradict(token, f"entry {conflict} is committed here with another term")
        return
    if core.is_flooded and proven > log.last_index:
        # As if the call had been lost: it is made again, a little later each time, and heartbeats go on.  A negative
        # answer would say that the logs do not match.
        core.hear()
        core.outbox.fail(token, f"{log.commit - log.applied} committed entries wait for the state machine here")
        return
    if conflict:
        core.truncate_from(conflict)
    fresh = _after(request.entries, log.last_index)
    log.extend(fresh)
    for index, configuration in configurations:
        if fresh and index >= fresh[0].index:
            core.membership.append(index, configuration)
    core.hear()
    advance_commit(core, min(request.leader_commit, proven))
    core.respond(token, AppendEntriesResponse(core.term, last, True), proven)


def _agrees(core: Core, request: AppendEntries) -> bool:
    """The consistency check.  What a snapshot has replaced is committed, hence the leader's, too."""
    prev = request.prev_log_index
    term = core.log.term(prev)
    return term == request.prev_log_term or (term is None and prev < core.log.first_index)


def advance_commit(core: Core, index: Index) -> None:
    """The leader says that ``index`` is committed, and we hold it."""
    if index > core.log.commit:
        core.commit_to(index)


def _check(request: AppendEntries) -> None:
    """ValueError unless the entries follow each other after prev, with known types and possible terms."""
    index, term = request.prev_log_index, max(request.prev_log_term, 1)
    for entry in request.entries:
        index += 1
        if entry.index != index:
            raise ValueError(f"entry {entry.index} stands where {index} belongs")
        if not term <= entry.term <= request.term:
            raise ValueError(f"entry {index} has term {entry.term} between {term} and {request.term}")
        if entry.type not in _KNOWN_TYPES:
            raise ValueError(f"entry {index} has unknown type {entry.type}")
        term = entry.term


def _first_conflict(core: Core, request: AppendEntries) -> Index:
    """The first index at which our log has another term than the leader's; 0 when there is none.

    What a snapshot has replaced counts, too: after a recovery from a lost quorum two nodes may have snapshots of
    different histories, and then nothing but the terms tells.
    """
    log, prev = core.log, request.prev_log_index
    if prev >= log.last_index:
        return 0
    if not log.may_hold(prev, request.prev_log_term):
        return prev
    for entry in request.entries:
        if entry.index > log.last_index:
            break
        if not log.may_hold(entry.index, entry.term):
            return entry.index
    return 0


def _after(entries: tuple[Entry, ...], index: Index) -> tuple[Entry, ...]:
    """The entries behind ``index``."""
    if not entries or entries[0].index > index:
        return entries
    return entries[index - entries[0].index + 1 :]
