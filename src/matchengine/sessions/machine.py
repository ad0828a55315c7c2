"""The session machine: around any state machine, so that every command takes effect exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap, takewhile

import msgspec

from matchengine.answers import Answer, chunks_of, from_chunks, whole
from matchengine.levels import MAX_LEVEL, SESSION_RULES, Levels, newest_levels
from matchengine.raft.types import Entry, EntryType
from matchengine.sessions.bounded import BoundedTable, Ending
from matchengine.sessions.envelopes import (
    ENVELOPE,
    LAST_ENTRY,
    LEVELS,
    LEVELS_VERSION,
    MAX_CLIENT_NAME_BYTES,
    EnvelopeKind,
    LastEntry,
    SessionStatus,
    encode_answer,
)
from matchengine.sessions.snapshot import SnapshotReader, snapshot_chunks
from matchengine.sessions.table import LAST_STAMP, LIMITS, Session, SessionLimits, SessionTable
from matchengine.state_machine import Execution, Hashable, Interruptible, NewerVersionError, StateMachine, finish


class SessionInfo(msgspec.Struct, frozen=True, gc=False):
    """An open session; ``number`` is the index of the entry that opened it, ``answers`` are held for its client."""

    id: int
    number: int
    name: str
    answers: int
    answer_bytes: int


class SessionMachine:
    """A state machine that gives the machine inside it exactly-once commands.

    The inner machine sees entries whose ``data`` is the command alone, and its snapshot bytes are
    kept as they are within the session machine's own.
    """

    def __init__(self, inner: StateMachine, limits: SessionLimits | None = None) -> None:
        """Around ``inner``; ``limits`` other than each level's own are for tests of the rules."""
        self.inner = inner
        self._interruptible = inner if isinstance(inner, Interruptible) else None
        self._limits = limits
        self._table = self._new_table(0)
        #: The cluster's feature levels as of the last entry.
        self.levels = Levels()
        #: What this program can execute at most.
        self.newest_levels = newest_levels(inner)

    def _new_table(self, library_level: int) -> SessionTable:
        limits = self._limits or LIMITS[library_level]
        return SessionTable(limits) if library_level < SESSION_RULES else BoundedTable(limits)

    # --- reading ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._table.sessions)

    def has_idle_sessions(self, idle_ns: int, now_ns: int) -> bool:
        """Whether a session's last entry is older than ``idle_ns`` at ``now_ns``: worth an EXPIRE entry."""
        return self._table.has_idle(idle_ns, now_ns)

    def standing(self, session_id: int) -> SessionStatus:
        """OK for an open session, else what is known of its end."""
        return SessionStatus.OK if session_id in self._table.sessions else self._table.missing(session_id)

    def refusal(self, session_id: int, sequence: int, acknowledged: int) -> SessionStatus:
        """What a command would be refused with, whatever is in the log behind the applied entries; OK if that is open.

        UNKNOWN_SESSION is open as well: an entry that is not applied here may have opened the session.  An entry of
        the same client on its way acknowledges no more than this one does.
        """
        session = self._table.sessions.get(session_id)
        if session is None:
            return self._table.missing(session_id)
        if not self._table.is_full_with(len(session.answers), session.answer_bytes) or sequence <= session.last:
            return SessionStatus.OK
        full = self._table.is_full_with(*session.held_beyond(acknowledged))
        return SessionStatus.SESSION_FULL if full else SessionStatus.OK

    def room(self, client_name: str) -> SessionStatus:
        """OK if there is room for one more session of this name, else why not."""
        return self._table.room(client_name)

    def listing(self) -> list[SessionInfo]:
        """All open sessions."""
        return [
            SessionInfo(session_id, s.number, s.name, len(s.answers), s.answer_bytes)
            for session_id, s in self._table.sessions.items()
        ]

    @property
    def limits(self) -> SessionLimits:
        """The bounds in force."""
        return self._table.limits

    @property
    def has_session_rules(self) -> bool:
        """Whether the rules of library level 1 are in force."""
        return self.levels.library >= SESSION_RULES

    def last_entries(self) -> list[LastEntry]:
        """Every open session with its last entry; empty below library level 1, where it is not known."""
        return list(self._table.last_entries()) if isinstance(self._table, BoundedTable) else []

    def endings(self, after: int = 0) -> list[Ending]:
        """The sessions that were ended by entries behind the index ``after``, as far as they are remembered."""
        if not isinstance(self._table, BoundedTable):
            return []
        newest_first = takewhile(lambda ending: ending.index > after, reversed(self._table.endings.values()))
        return list(newest_first)[::-1]

    def state_hash(self) -> bytes:
        """The inner machine's digest alone: sessions do not enter it."""
        return self.inner.state_hash() if isinstance(self.inner, Hashable) else b""

    # --- StateMachine ----------------------------------------------------------------------

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        """One answer per entry, as described in :mod:`matchengine.sessions.envelopes`."""
        return [whole(from_chunks(finish(self.begin(entry)))) for entry in entries]

    def begin(self, entry: Entry) -> Execution:
        """See :class:`matchengine.state_machine.Interruptible`; in several steps if the machine inside takes them."""
        begun = self._begin(entry)
        return begun if isinstance(begun, _Command) else _Answered(begun)

    def snapshot(self) -> Iterator[bytes]:
        """The session table, then the inner machine's chunks, in frames."""
        return snapshot_chunks(self._table, self.levels, self.inner.snapshot())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace table and inner state; raises ValueError for bytes that are no session snapshot."""
        reader = SnapshotReader(chunks)
        self._require_executable(reader.levels, "snapshot")
        table, levels = self._new_table(reader.levels.library), reader.levels
        with reader.read_into(table) as inner:
            self.inner.restore(inner)
        self._table = table
        self.levels = levels

    # --- one entry -------------------------------------------------------------------------

    def _begin(self, entry: Entry) -> Answer | _Command:
        data = entry.data
        self._table.now = max(self._table.now, min(entry.appended_at, LAST_STAMP))
        if len(data) < ENVELOPE.size:
            return encode_answer(SessionStatus.MALFORMED)
        version, kind, reserved, session_id, sequence, acknowledged = ENVELOPE.unpack_from(data)
        if version > LEVELS_VERSION:
            raise NewerVersionError(
                f"entry {entry.index}: session envelope version {version} is above {LEVELS_VERSION}"
            )
        if version == LEVELS_VERSION:
            return self._raise_levels(entry.index, kind, sequence, acknowledged)
        if version == 0 or reserved:
            return encode_answer(SessionStatus.MALFORMED)
        if kind == EnvelopeKind.COMMAND:
            return self._command(entry, session_id, sequence, acknowledged)
        if kind == EnvelopeKind.OPEN:
            return self._open(session_id, data[ENVELOPE.size :], entry.index)
        if kind == EnvelopeKind.KEEP_ALIVE:
            return encode_answer(self._table.keep_alive(session_id, entry.index))
        if kind == EnvelopeKind.CLOSE:
            return encode_answer(self._table.close(session_id))
        if kind == EnvelopeKind.EXPIRE:
            return self._expire(sequence)
        if isinstance(self._table, BoundedTable):
            return _bounded(self._table, kind, sequence, data[ENVELOPE.size :], entry.index)
        return encode_answer(SessionStatus.MALFORMED)

    def _raise_levels(self, index: int, kind: int, library: int, machine: int) -> Answer:
        if kind != EnvelopeKind.RAISE_LEVELS or max(library, machine) > MAX_LEVEL:
            return encode_answer(SessionStatus.MALFORMED)
        asked = Levels(library, machine)
        self._require_executable(asked, f"entry {index}")
        if self.levels.library < SESSION_RULES <= library:
            bounded = BoundedTable(self._limits or LIMITS[SESSION_RULES])
            bounded.adopt(self._table, index)
            self._table = bounded
        self.levels = Levels(max(library, self.levels.library), max(machine, self.levels.machine))
        return encode_answer(SessionStatus.OK, index, LEVELS.pack(self.levels.library, self.levels.machine))

    def _require_executable(self, levels: Levels, what: str) -> None:
        if not self.newest_levels.covers(levels):
            raise NewerVersionError(
                f"{what}: the cluster's feature level is {levels}, this program executes up to {self.newest_levels}; "
                "start this node with the newer program"
            )

    def _open(self, session_id: int, raw_name: bytes, index: int) -> Answer:
        name = _name_of(raw_name)
        if name is None:
            return encode_answer(SessionStatus.MALFORMED)
        return encode_answer(*self._table.open(session_id, name, index))

    def _expire(self, idle_ns: int) -> Answer:
        return encode_answer(SessionStatus.OK, self._table.expire(idle_ns))

    def _command(self, entry: Entry, session_id: int, sequence: int, acknowledged: int) -> Answer | _Command:
        session = self._table.sessions.get(session_id)
        if session is None:
            return encode_answer(self._table.missing(session_id))
        admission = self._table.admit(session, entry.index, sequence, acknowledged)
        if admission is SessionStatus.OK:
            return self._execute(entry, session)
        return encode_answer(admission) if isinstance(admission, SessionStatus) else admission

    def _execute(self, entry: Entry, session: Session) -> Answer | _Command:
        command = Entry(
            entry.index,
            entry.term,
            EntryType.COMMAND,
            entry.data[ENVELOPE.size :],
            entry.extensions,
            entry.appended_at,
            self.levels.machine,
        )
        if self._interruptible is not None:
            return _Command(self._table, session, entry.index, self._interruptible.begin(command))
        (result,) = self.inner.apply((command,))
        return _keep(self._table, session, entry.index, result)


def _name_of(raw_name: bytes) -> str | None:
    """A client's name; None for what cannot be one."""
    try:
        return raw_name.decode() if len(raw_name) <= MAX_CLIENT_NAME_BYTES else None
    except UnicodeDecodeError:
        return None


def _bounded(table: BoundedTable, kind: int, number: int, payload: bytes, index: int) -> Answer:
    """The answer to an entry of a kind that library level 1 brings."""
    if kind == EnvelopeKind.EXPIRE_SESSIONS and len(payload) % LAST_ENTRY.size == 0:
        idle = starmap(LastEntry, LAST_ENTRY.iter_unpack(payload))
        return encode_answer(SessionStatus.OK, table.expire_sessions(idle, index))
    if kind == EnvelopeKind.END_SESSIONS and number and not payload:
        return encode_answer(SessionStatus.OK, table.end_number(number, index))
    if kind == EnvelopeKind.END_SESSIONS and not number and (name := _name_of(payload)) is not None:
        return encode_answer(SessionStatus.OK, table.end_named(name, index))
    return encode_answer(SessionStatus.MALFORMED)


class _Answered:
    """An entry that needed no further step."""

    __slots__ = ("_chunks",)

    def __init__(self, answer: Answer) -> None:
        self._chunks = (answer,) if isinstance(answer, bytes) else answer

    def step(self) -> tuple[bytes, ...]:
        """See :class:`matchengine.state_machine.Execution`."""
        return self._chunks


class _Command:
    """A session's next command, while the machine inside executes it; nothing else happens to the table meanwhile."""

    __slots__ = ("_execution", "_index", "_session", "_table")

    def __init__(self, table: SessionTable, session: Session, index: int, execution: Execution) -> None:
        self._table = table
        self._session = session
        self._index = index
        self._execution = execution

    def step(self) -> tuple[bytes, ...] | None:
        """See :class:`matchengine.state_machine.Execution`."""
        chunks = self._execution.step()
        if chunks is None:
            return None
        return chunks_of(_keep(self._table, self._session, self._index, from_chunks(chunks)))


def _keep(table: SessionTable, session: Session, index: int, result: Answer) -> Answer:
    answer = encode_answer(SessionStatus.OK, index, result)
    table.keep(session, answer)
    return answer
