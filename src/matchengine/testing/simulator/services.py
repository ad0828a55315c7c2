"""What a node offers to clients and to other nodes, on the replica's callbacks.

The rules are those of the gRPC services: a stream's requests are proposed as they come, their answers go out in the
order of the requests, and the first failure ends the stream; a read waits for a read index and for its own node
to have applied it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from matchengine.answers import pieces, size_of, whole
from matchengine.client.contracts import Slice
from matchengine.errors import BusyError, NotLeaderError
from matchengine.node.engine import Outcome
from matchengine.sessions import (
    MAX_SESSION_ID,
    SessionAnswer,
    SessionStatus,
    command_envelope,
    decode_answer,
    keep_alive_envelope,
    open_envelope,
)
from matchengine.testing.simulator.timeline import MS

if TYPE_CHECKING:
    from matchengine.testing.simulator.process import Process

#: Called once, with a result or with an error.
Reply: TypeAlias = Callable[[object, Exception | None], None]

#: How often a leader looks for idle sessions, as a part of the time after which one is.
_LOOKS: Final = 10
#: What one slice of an answer holds, and when the next follows.
_SLICE_BYTES: Final = 250
_SLICE_US: Final = 5_000
#: Every so many processes is of a version that sends answers whole.
_WITHOUT_SLICES: Final = 6


class Services:
    """The services of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._idle_us = process.world.session_idle_us
        self._looked = 0
        self._chance = process.world.stream("sessions", process.number)

    def tick(self) -> None:
        """A tick has passed, and perhaps it is time to look for idle sessions."""
        clock = self._process.clock_us
        if clock - self._looked >= self._idle_us // _LOOKS:
            self._looked = clock
            self._process.propose_expiry(self._idle_us * 1000)

    # --- status and sessions ---------------------------------------------------------------

    def status(self, reply: Reply) -> None:
        """(whether this node leads, the known leader's address)."""
        reply((self._process.leads, self._process.replica.soft_state.leader_address), None)

    def open_session(self, name: str, reply: Reply) -> None:
        """A :class:`SessionAnswer` with the new session's id."""
        self.apply(open_envelope(name, self._chance.randrange(1, MAX_SESSION_ID)), reply)

    def keep_alive(self, session_id: int, reply: Reply) -> None:
        """A :class:`SessionAnswer`."""
        self.apply(keep_alive_envelope(session_id), reply)

    def apply(self, envelope: bytes, reply: Reply) -> None:
        """A :class:`SessionAnswer` to one command in its envelope."""
        self._process.replica.apply(envelope, _decoded(reply))

    # --- reads -----------------------------------------------------------------------------

    def read(self, query: int, reply: Reply) -> None:
        """(applied index, the machine's answer to the workload's query of this number)."""
        process = self._process

        def at(index: object, error: Exception | None) -> None:
            if error is not None or not isinstance(index, int):
                reply(None, error)
            else:
                process.replica.wait_applied(index, answer)

        def answer(_outcome: Outcome | None, error: Exception | None) -> None:
            if error is None and not process.replica.machine_is_readable:
                error = BusyError("the state is being replaced by a snapshot from the leader; retry later")
            if error is not None:
                reply(None, error)
            else:
                reply((process.replica.applied, process.answer(query)), None)

        if process.leads:
            self.read_index(at)
        else:
            self._ask_leader(at)

    def read_index(self, reply: Reply) -> None:
        """Leader only: an index from which reads are linearizable."""
        process = self._process
        world, begun = process.world, process.world.network.requests

        def done(outcome: Outcome | None, error: Exception | None) -> None:
            if outcome is not None:
                world.checkers.confirmed(process, begun)
            reply(None if outcome is None else outcome.index, error)

        process.replica.read_index(done)

    def _ask_leader(self, reply: Reply) -> None:
        process = self._process
        address = process.replica.soft_state.leader_address
        if not address:
            reply(None, NotLeaderError())
            return

        def done(result: object, error: Exception | None) -> None:
            process.enter(reply, result, error)

        patience = process.world.timing.election_timeout_ms * MS
        process.world.call(process.id, address, patience, lambda services, back: services.read_index(back), done)


class _Slot:
    """A request whose answer waits for its turn; ``position`` is what the client has of it."""

    __slots__ = ("error", "outcome", "position", "sequence", "settled")

    def __init__(self, sequence: int, position: int) -> None:
        self.sequence = sequence
        self.position = position
        self.settled = False
        self.outcome: Outcome | None = None
        self.error: Exception | None = None


class CommandStream:
    """The server's end of a client's stream.

    ``answer(sequence, answer, part)`` and ``end(error)`` carry what goes back; nothing follows ``end``.  A large
    answer goes out slice by slice, with time in between; some processes are of a version that knows no slices.
    """

    def __init__(
        self,
        process: Process,
        answer: Callable[[int, SessionAnswer, Slice], None],
        end: Callable[[Exception | None], None],
    ) -> None:
        self._process = process
        self._answer = answer
        self._end = end
        self._slots: deque[_Slot] = deque()
        self._ended = False
        self._pausing = False
        self._slices = process.number % _WITHOUT_SLICES != 0

    def request(self, session_id: int, sequence: int, acknowledged: int, command: bytes, position: int) -> None:
        """A command has arrived."""
        if self._ended:
            return
        slot = _Slot(sequence, position)
        self._slots.append(slot)

        def settle(outcome: Outcome | None, error: Exception | None) -> None:
            slot.settled, slot.outcome, slot.error = True, outcome, error
            self._flush()

        self._process.replica.apply(command_envelope(session_id, sequence, acknowledged, command), settle)

    def _flush(self) -> None:
        while self._slots and self._slots[0].settled and not (self._ended or self._pausing):
            slot = self._slots[0]
            if slot.outcome is None:
                self._ended = True
                self._end(slot.error)
            elif self._write(slot, slot.outcome):
                self._pausing = True
                self._process.world.timeline.after(_SLICE_US, self._process.enter, self._go_on)
            else:
                self._slots.popleft()

    def _go_on(self) -> None:
        self._pausing = False
        self._flush()

    def _write(self, slot: _Slot, outcome: Outcome) -> bool:
        """The next slice of an answer; whether more follow."""
        answer = decode_answer(outcome.result)
        if not self._slices or answer.status is not SessionStatus.OK:
            data = whole(answer.payload)
            self._answer(slot.sequence, _with_payload(answer, data), Slice(0, len(data), more=False))
            return False
        data = next(pieces(answer.payload, _SLICE_BYTES, slot.position), b"")
        part = Slice(slot.position, len(data), slot.position + len(data) < size_of(answer.payload))
        self._answer(slot.sequence, _with_payload(answer, data), part)
        slot.position += len(data)
        return part.more


def _with_payload(answer: SessionAnswer, payload: bytes) -> SessionAnswer:
    return SessionAnswer(answer.status, answer.value, payload)


def _decoded(reply: Reply) -> Callable[[Outcome | None, Exception | None], None]:
    def done(outcome: Outcome | None, error: Exception | None) -> None:
        if outcome is None:
            reply(None, error)
        else:
            answer = decode_answer(outcome.result)
            reply(_with_payload(answer, whole(answer.payload)), None)

    return done
