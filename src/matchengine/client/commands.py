"""What a session does, apart from how its messages travel: numbers, order, answers, patience.

Rules of this file.  Commands stand in one queue in the order of their sequences and leave it only by
their answers, from the front.  What was written to a stream that broke is written again to the next
one, with the same sequences.  An answer in slices continues there at the position that was reached: all nodes hold
the same bytes.  There is no IO here and no clock, so a simulator drives the same code.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from matchengine.client.contracts import Failure, Slice
from matchengine.client.errors import SessionClosedError, SessionExpiredError, SessionRefusedError
from matchengine.errors import MatchEngineError, RefusedError, UnknownOutcomeError
from matchengine.sessions import SessionStatus

C = TypeVar("C")
T = TypeVar("T")

#: A leader that still says that it leads is given this much time to answer, in seconds.
PATIENCE_S: Final = 5.0


class MovedError(Exception):
    """The conversation is over and has to begin anew; the leader may be elsewhere."""


class Numbered(Generic[C, T]):
    """A command under way; ``ticket`` is the owner's, to settle it by.

    ``position`` is how much of its answer is here, in units of the slices.
    """

    __slots__ = ("command", "position", "sequence", "ticket")

    def __init__(self, sequence: int, command: C, ticket: T) -> None:
        self.sequence = sequence
        self.command = command
        self.ticket = ticket
        self.position = 0


class Taken(NamedTuple, Generic[T]):
    """What an answer, or a slice of one, means: whose it is, and how much of it is ``known`` from before."""

    ticket: T
    known: int
    is_last: bool


class CommandQueue(Generic[C, T]):
    """The commands of one session from their submission to their answers.

    ``session_id`` is 0 until the session is open; ``acknowledged`` is the last sequence whose answer is
    here, to be sent along with every command.  ``progress`` rises with every answer and every slice of one.
    """

    def __init__(self) -> None:
        self.session_id = 0
        self.acknowledged = 0
        self.progress = 0
        self._next_sequence = 1
        self._queue: deque[Numbered[C, T]] = deque()
        self._written = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Commands on the stream that have no answer yet."""
        return self._written

    def add(self, command: C, ticket: T) -> None:
        """Put a command behind all others."""
        self._queue.append(Numbered(self.take_sequence(), command, ticket))

    def take_sequence(self) -> int:
        """The next number, for a command that is sent alone while nothing else is under way."""
        sequence = self._next_sequence
        self._next_sequence += 1
        return sequence

    def give_back(self, sequence: int) -> None:
        """A command sent alone was refused before the log: its number is free."""
        self._next_sequence = sequence

    # --- one stream ------------------------------------------------------------------------

    def next_to_write(self) -> Numbered[C, T] | None:
        """The next command for this stream, which counts as written from now on; None when all are."""
        if self._written == len(self._queue):
            return None
        self._written += 1
        return self._queue[self._written - 1]

    def stream_ended(self) -> None:
        """Nothing that was written will be answered any more."""
        self._written = 0

    def answered(self, sequence: int, status: int, part: Slice | None = None) -> Taken[T]:
        """One answer, or a part of one, which belongs to the front of the queue.

        Raises MovedError when the conversation has gone wrong, SessionExpiredError and SessionRefusedError
        when the session is over.
        """
        check_status(sequence, status)
        if not self._written or sequence != self._queue[0].sequence:
            raise MovedError
        if part is not None and part.more:
            return self._sliced(self._queue[0], part)
        known = self._queue[0].position - (0 if part is None else part.position)
        if known < 0:
            raise MovedError
        self._written -= 1
        self.acknowledged = sequence
        self.progress += 1
        return Taken(self._queue.popleft().ticket, known, is_last=True)

    def _sliced(self, numbered: Numbered[C, T], part: Slice) -> Taken[T]:
        """What a slice repeats is known, also when a node of an older version sends the answer from its beginning."""
        known, position = numbered.position - part.position, part.position + part.size
        if known < 0:
            raise MovedError
        if position > numbered.position:
            numbered.position = position
            self.progress += 1
        return Taken(numbered.ticket, min(known, part.size), is_last=False)

    def give_up(self) -> list[T]:
        """Forget everything; the tickets of what has no answer."""
        tickets = [numbered.ticket for numbered in self._queue]
        self._queue.clear()
        self._written = 0
        return tickets


def check_status(sequence: int, status: int) -> None:
    """Raise what a status other than OK means for the session."""
    if status == SessionStatus.OK:
        return
    raise _refusal(sequence, status)


_OPEN_OUTCOME: Final = "whether its unacknowledged commands took effect is unknown"
_ENDINGS: Final[dict[SessionStatus, tuple[type[MatchEngineError], str]]] = {
    SessionStatus.UNKNOWN_SESSION: (SessionExpiredError, f"the cluster no longer knows this session; {_OPEN_OUTCOME}"),
    SessionStatus.EXPIRED: (
        SessionExpiredError,
        f"this session was idle for too long and has expired; {_OPEN_OUTCOME}",
    ),
    SessionStatus.EVICTED: (
        SessionClosedError,
        f"the cluster closed this session: unacknowledged answers had to make room for others'; {_OPEN_OUTCOME}",
    ),
    SessionStatus.ENDED_BY_OPERATOR: (SessionClosedError, f"an operator closed this session; {_OPEN_OUTCOME}"),
}


def _refusal(sequence: int, status: int) -> MatchEngineError | MovedError:
    if status in _ENDINGS:
        kind, text = _ENDINGS[SessionStatus(status)]
        return kind(text)
    if status in (SessionStatus.SESSION_FULL, SessionStatus.SEQUENCE_GAP):
        # Full: the next attempt brings newer acknowledgements along.  Gap: what follows a refused one.
        return MovedError()
    return SessionRefusedError(f"sequence {sequence}: {status_name(status)}")


def status_name(status: int) -> str:
    """The status in words, or its number if it is of a later version."""
    return SessionStatus(status).name if status in set(SessionStatus) else str(status)


class LoneCommand(Generic[C, T]):
    """A command that is sent by calls of its own, again and again until one is answered, while no other is under way.

    ``sequence`` is its number.
    """

    def __init__(self, commands: CommandQueue[C, T]) -> None:
        self.sequence = commands.take_sequence()
        self._commands = commands
        self._may_be_logged = False

    def answered(self, sequence: int, status: int) -> None:
        """A call was answered; raises MovedError when the command has to be sent again, or what ended the session."""
        check_status(sequence, status)
        if sequence != self.sequence:
            self._may_be_logged = True
            raise MovedError
        self._commands.acknowledged = sequence

    def failed(self, failure: Failure) -> None:
        """A call has failed.  Returns when the command is to be sent again.

        Raises RefusedError when the command has not been executed and its number is free, and UnknownOutcomeError
        when the session has to end: an attempt before may be in the log, and the next command would get its
        answer for its own.
        """
        if failure.may_retry:
            self._may_be_logged = True
        elif self._may_be_logged:
            raise UnknownOutcomeError(f"sequence {self.sequence} was refused after a failure: {failure.text}")
        else:
            self._commands.give_back(self.sequence)
            raise RefusedError(failure.text)

    def given_up(self) -> UnknownOutcomeError:
        """Why nothing may follow a command that nobody waits for any more."""
        return UnknownOutcomeError(f"sequence {self.sequence} was given up; it may still take effect")


class Suspicion(Enum):
    """What a node's silence says; ``SILENT``: ask whether it still leads."""

    NONE = 0
    SILENT = 1
    GONE = 2


class Patience:
    """Watches one stream: looked at every ``interval_s``, it tells a slow node from one that has gone."""

    def __init__(self, interval_s: float, progress: int) -> None:
        self._interval_s = interval_s
        self._progress = progress
        self._silent_s = 0.0

    def look(self, in_flight: int, progress: int) -> Suspicion:
        """What to think after another interval; ``progress`` counts whatever has come, a slice of an answer as well."""
        if not in_flight or progress != self._progress:
            self._progress = progress
            self._silent_s = 0.0
            return Suspicion.NONE
        self._silent_s += self._interval_s
        return Suspicion.GONE if self._silent_s >= PATIENCE_S else Suspicion.SILENT
