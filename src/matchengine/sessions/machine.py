"""The session machine: around any state machine, so that every command takes effect exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from matchengine.answers import Answer, chunks_of, from_chunks, whole
from matchengine.levels import MAX_LEVEL, Levels, newest_levels
from matchengine.raft.types import Entry, EntryType
from matchengine.sessions.envelopes import (
    ENVELOPE,
    LEVELS,
    LEVELS_VERSION,
    MAX_CLIENT_NAME_BYTES,
    EnvelopeKind,
    SessionStatus,
    encode_answer,
)
from matchengine.sessions.snapshot import read_snapshot, snapshot_chunks
from matchengine.sessions.table import LAST_STAMP, Session, SessionLimits, SessionTable
from matchengine.state_machine import Execution, Hashable, Interruptible, NewerVersionError, StateMachine, finish


class SessionMachine:
    """A state machine that gives the machine inside it exactly-once commands.

    The inner machine sees entries whose ``data`` is the command alone, and its snapshot bytes are
    kept as they are within the session machine's own.
    """

    def __init__(self, inner: StateMachine, limits: SessionLimits = SessionLimits()) -> None:  # noqa: B008 - immutable
        self.inner = inner
        self._interruptible = inner if isinstance(inner, Interruptible) else None
        self._table = SessionTable(limits)
        #: The cluster's feature levels as of the last entry.
        self.levels = Levels()
        #: What this program can execute at most.
        self.newest_levels = newest_levels(inner)

    # --- reading ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._table.sessions)

    def has_idle_sessions(self, idle_ns: int, now_ns: int) -> bool:
        """Whether a session's last entry is older than ``idle_ns`` at ``now_ns``: worth an EXPIRE entry."""
        return self._table.has_idle(idle_ns, now_ns)

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
        with read_snapshot(chunks, self._table.limits) as (table, levels, inner):
            self._require_executable(levels, "snapshot")
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
            return self._open(entry.index, data[ENVELOPE.size :])
        if kind == EnvelopeKind.KEEP_ALIVE:
            return encode_answer(self._table.keep_alive(session_id))
        if kind == EnvelopeKind.CLOSE:
            return encode_answer(self._table.close(session_id))
        if kind == EnvelopeKind.EXPIRE:
            return self._expire(sequence)
        return encode_answer(SessionStatus.MALFORMED)

    def _raise_levels(self, index: int, kind: int, library: int, machine: int) -> Answer:
        if kind != EnvelopeKind.RAISE_LEVELS or max(library, machine) > MAX_LEVEL:
            return encode_answer(SessionStatus.MALFORMED)
        asked = Levels(library, machine)
        self._require_executable(asked, f"entry {index}")
        self.levels = Levels(max(library, self.levels.library), max(machine, self.levels.machine))
        return encode_answer(SessionStatus.OK, index, LEVELS.pack(self.levels.library, self.levels.machine))

    def _require_executable(self, levels: Levels, what: str) -> None:
        if not self.newest_levels.covers(levels):
            raise NewerVersionError(
                f"{what}: the cluster's feature level is {levels}, this program executes up to {self.newest_levels}; "
                "start this node with the newer program"
            )

    def _open(self, index: int, raw_name: bytes) -> Answer:
        try:
            name = raw_name.decode()
        except UnicodeDecodeError:
            return encode_answer(SessionStatus.MALFORMED)
        if len(raw_name) > MAX_CLIENT_NAME_BYTES:
            return encode_answer(SessionStatus.MALFORMED)
        status = self._table.open(index, name)
        return encode_answer(status, index if status is SessionStatus.OK else 0)

    def _expire(self, idle_ns: int) -> Answer:
        return encode_answer(SessionStatus.OK, self._table.expire(idle_ns))

    def _command(self, entry: Entry, session_id: int, sequence: int, acknowledged: int) -> Answer | _Command:
        session = self._table.sessions.get(session_id)
        if session is None:
            return encode_answer(SessionStatus.UNKNOWN_SESSION)
        admission = self._table.admit(session, sequence, acknowledged)
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


class _Answered:
    """An entry that needed no further step."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def step(self) -> tuple[bytes, ...]:
        """See :class:`matchengine.state_machine.Execution`."""
        return chunks_of(self._answer)


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
