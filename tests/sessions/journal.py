"""A machine to put sessions around, and a log of envelopes for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from matchengine.levels import Levels
from matchengine.raft.types import Entry
from matchengine.sessions import (
    SessionAnswer,
    SessionLimits,
    SessionMachine,
    SessionStatus,
    command_envelope,
    decode_answer,
    open_envelope,
    raise_levels_envelope,
)


class Journal:
    """Answers every command with its position; remembers all of them."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        answers = []
        for entry in entries:
            self.seen.append(entry.data)
            answers.append(b"%d:%b" % (len(self.seen), entry.data))
        return answers

    def snapshot(self) -> Iterator[bytes]:
        return iter([len(s).to_bytes(4, "little") + s for s in self.seen])

    def restore(self, chunks: Iterable[bytes]) -> None:
        data, self.seen = b"".join(chunks), []
        while data:
            length = int.from_bytes(data[:4], "little")
            self.seen.append(data[4 : 4 + length])
            data = data[4 + length :]


class Log:
    """Feeds envelopes to a session machine as committed entries."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self.journal = Journal()
        self.limits = limits
        self.machine = SessionMachine(self.journal, limits)
        self.index = 0

    def put(self, data: bytes, at: int = 0) -> SessionAnswer:
        self.index += 1
        (answer,) = self.machine.apply([Entry(self.index, 1, data=data, appended_at=at)])
        return decode_answer(answer)

    def open(self, at: int = 0) -> int:
        answer = self.put(open_envelope("tester"), at)
        assert answer.status is SessionStatus.OK
        return answer.value

    def restart(self) -> None:
        """Go on with a machine that was restored from this one's snapshot."""
        chunks = list(self.machine.snapshot())
        self.journal = Journal()
        self.machine = SessionMachine(self.journal, self.limits)
        self.machine.restore(chunks)
        assert b"".join(self.machine.snapshot()) == b"".join(chunks)

    def command_in_new_session(self, payload: bytes) -> SessionAnswer:
        return self.command(self.open(), 1, payload)

    def command(self, session: int, sequence: int, payload: bytes = b"x", acknowledged: int = 0) -> SessionAnswer:
        return self.put(command_envelope(session, sequence, acknowledged, payload))


class BoundedLog(Log):
    """At library level 1; the ids of its sessions are 1000 and on."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        super().__init__(limits)
        self.put(raise_levels_envelope(Levels(1, 0)))
        self._id = 999

    def open(self, at: int = 0, *, name: str = "tester") -> int:
        self._id += 1
        answer = self.put(open_envelope(name, self._id), at)
        assert answer == SessionAnswer(SessionStatus.OK, self._id, b"")
        return self._id
