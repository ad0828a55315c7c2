"""One session's way from leader to leader: search, open, converse, and search again when the leader has moved.

As long as commands wait there is no giving up; what ends a session is an answer that says so.  There is no IO here
and no clock, so a simulator drives the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

from matchengine.client.commands import CommandQueue, MovedError, Patience, Suspicion, check_status, status_name
from matchengine.client.contracts import ATTEMPT_S, Cluster, Failure, Opened, Slice, Stream
from matchengine.client.errors import SessionRefusedError
from matchengine.client.search import LeaderSearch, pause_s
from matchengine.errors import MatchEngineError
from matchengine.sessions import SessionStatus

C = TypeVar("C")
T = TypeVar("T")

KEEP_ALIVE_S: Final = 15.0


class Pursuit(Generic[C, T]):
    """Follows the leader with one session, whose commands are in ``commands``.

    ``leader`` is the address of the node that was found last, ``streams`` counts the conversations; ``is_over`` when
    nothing will follow.
    """

    def __init__(self, addresses: Sequence[str], cluster: Cluster[T]) -> None:
        self.commands: CommandQueue[C, T] = CommandQueue()
        self.leader = ""
        self.streams = 0
        self._cluster = cluster
        self._search = LeaderSearch(addresses, cluster)
        self._stream: Stream | None = None
        #: Rises whenever the session turns to something else: what belongs to an older attempt is over.
        self._attempt = 0
        #: Rises whenever the session begins or stops, which ends the keep-alives of before.
        self._life = 0
        self.is_over = False

    # --- the owner's side ------------------------------------------------------------------

    @property
    def is_conversing(self) -> bool:
        """Whether there is a stream to a node that led."""
        return self._stream is not None

    def begin(self) -> None:
        """Find the leader and open the session, if it is not open yet."""
        self.is_over = False
        self._life += 1
        self._keep_alive(self._life, self.commands.acknowledged)
        self._turn()
        self._search.begin(self._found)

    def stop(self) -> None:
        """Do nothing more."""
        self.is_over = True
        self._life += 1
        self._turn()

    def add(self, command: C, ticket: T) -> None:
        """One more command, behind all others."""
        self.commands.add(command, ticket)
        if self._stream is not None:
            self._stream.write()

    def end(self, error: MatchEngineError) -> None:
        """The session is over, for this reason."""
        self.stop()
        self._cluster.session_over(error, self.commands.give_up())

    def moved_from(self, leader: str, hint: str) -> None:
        """A call to ``leader``, beside the stream, has failed; ``hint`` is who leads instead, if it said so."""
        if self._stream is not None and self.leader == leader:
            self._look_again(hint)

    # --- the stream's side -----------------------------------------------------------------

    def take(self, stream: Stream, sequence: int, status: int, response: Any, part: Slice | None = None) -> None:
        """An answer has come over ``stream``, or a part of one."""
        if stream is not self._stream:
            return
        try:
            ticket, known, is_last = self.commands.answered(sequence, status, part)
        except MovedError:
            self._look_again("")
        except MatchEngineError as error:
            self.end(error)
        else:
            tell = self._cluster.answered if is_last else self._cluster.sliced
            tell(ticket, response, known)

    def failed(self, stream: Stream, failure: Failure) -> None:
        """``stream`` is over."""
        if stream is not self._stream:
            return
        if failure.may_retry:
            self._look_again(failure.hint)
        else:
            self.end(SessionRefusedError(failure.text))

    # --- from one leader to the next -------------------------------------------------------

    def _turn(self) -> int:
        """Drop what is under way; the number of the new attempt."""
        self._attempt += 1
        self._search.stop()
        stream, self._stream = self._stream, None
        if stream is not None:
            self.commands.stream_ended()
            stream.cancel()
        return self._attempt

    def _look_again(self, hint: str) -> None:
        self._search.hint(hint)
        attempt = self._turn()

        def search() -> None:
            if self._attempt == attempt:
                self._search.begin(self._found)

        self._cluster.later(pause_s(self._cluster.jitter()), search)

    def _found(self, address: str) -> None:
        self.leader = address
        if self.commands.session_id:
            self._cluster.session_opened()
            self._converse()
        else:
            self._open()

    def _open(self) -> None:
        attempt = self._turn()

        def done(result: Opened | Failure) -> None:
            if self._attempt == attempt:
                self._opened(result)

        self._cluster.open_session(self.leader, done)

    def _opened(self, result: Opened | Failure) -> None:
        if isinstance(result, Failure):
            if result.may_retry:
                self._look_again(result.hint)
            else:
                self.end(SessionRefusedError(f"session: {result.text}"))
        elif result.status == SessionStatus.ID_TAKEN:
            self._look_again("")
        elif result.status != SessionStatus.OK:
            self.end(SessionRefusedError(f"session: {result.detail or status_name(result.status)}"))
        else:
            self.commands.session_id = result.session_id
            self._cluster.session_opened()
            self._converse()

    def _converse(self) -> None:
        attempt = self._turn()
        self.streams += 1
        self._stream = self._cluster.open_stream(self.leader)
        self._stream.write()
        self._watch(attempt, Patience(ATTEMPT_S, self.commands.progress))

    # --- silence ---------------------------------------------------------------------------

    def _watch(self, attempt: int, patience: Patience) -> None:
        """Leave a node that owes answers and is silent: at once if another leads or nobody does, else later."""

        def look() -> None:
            if self._attempt != attempt:
                return
            suspicion = patience.look(self.commands.in_flight, self.commands.progress)
            if suspicion is Suspicion.GONE or (suspicion is Suspicion.SILENT and self._search.is_on):
                self._look_again("")
                return
            if suspicion is Suspicion.SILENT:
                self._search.begin(self._found_meanwhile)
            else:
                self._search.stop()
            self._cluster.later(ATTEMPT_S, look)

        self._cluster.later(ATTEMPT_S, look)

    def _found_meanwhile(self, address: str) -> None:
        if address != self.leader:
            self._found(address)

    # --- keeping the session ---------------------------------------------------------------

    def _keep_alive(self, life: int, acknowledged: int) -> None:
        """Whenever nothing was answered for a while, tell the cluster that the session is in use."""

        def look() -> None:
            if self._life != life:
                return
            if self.commands.acknowledged == acknowledged and self._stream is not None:
                self._tell_alive()
            self._keep_alive(life, self.commands.acknowledged)

        self._cluster.later(KEEP_ALIVE_S, look)

    def _tell_alive(self) -> None:
        attempt = self._attempt

        def done(result: int | Failure) -> None:
            if self._attempt == attempt:
                self._told_alive(result)

        self._cluster.keep_alive(self.leader, self.commands.session_id, done)

    def _told_alive(self, result: int | Failure) -> None:
        if isinstance(result, Failure):
            # Where commands wait, their own silence decides.  Otherwise nothing else would show that the node was
            # deposed, and the session would expire at the new leader.
            if result.may_retry and not self.commands:
                self._look_again(result.hint)
            return
        try:
            check_status(0, result)
        except MatchEngineError as error:
            self.end(error)
