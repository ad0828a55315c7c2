"""Clients of a simulated cluster: the real session logic, on simulated connections.

A client finds the leader, opens a session, keeps a window of commands under way, follows the leader when it
moves, and reads at any node.  What it was told is handed to the checkers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from matchengine.client.commands import CommandQueue, MovedError, Patience, Suspicion, check_status
from matchengine.client.errors import SessionExpiredError
from matchengine.errors import BusyError, MatchEngineError, NotLeaderError, RefusedError
from matchengine.sessions import SessionAnswer
from matchengine.testing.simulator.invariants import PROGRESS
from matchengine.testing.simulator.services import CommandStream
from matchengine.testing.simulator.timeline import MS, SECOND

if TYPE_CHECKING:
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.process import Process
    from matchengine.testing.simulator.world import World

_ATTEMPT_US: Final = SECOND
_PAUSE_US: Final = (10 * MS, 30 * MS)
_KEEP_ALIVE_US: Final = 30 * SECOND


class Ticket:
    """A command of a client, by its number."""

    __slots__ = ("command", "number")

    def __init__(self, number: int, command: bytes) -> None:
        self.number = number
        self.command = command


class Client:
    """One client; ``number`` counts from 1."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.id = f"c{number}"
        self.queue: CommandQueue[bytes, Ticket] = CommandQueue()
        self.submitted = 0
        self.answered = 0
        self.sessions = 0
        self._chance = world.stream("client", number)
        self._window = self._chance.randrange(1, 9)
        self._think_us = world.think_us
        #: Rises whenever the client turns to something else: what belongs to an older attempt is over.
        self._attempt = 0
        self._link: _Link | None = None
        world.timeline.after(self._chance.randrange(0, 500 * MS), self._find)
        world.timeline.after(self._chance.randrange(0, SECOND), self._think)
        world.timeline.after(self._chance.randrange(0, SECOND), self._read)
        world.timeline.after(_KEEP_ALIVE_US // 2, self._keep_alive)

    # --- working ---------------------------------------------------------------------------

    def _think(self) -> None:
        """Submit a few commands, now and then."""
        world = self.world
        if not world.is_closing:
            for _ in range(1 + self._chance.skewed(0, 4)):
                self.submit()
        world.timeline.after(self._rest(), self._think)

    def _rest(self) -> int:
        return self._chance.skewed(self._think_us // 4, 4 * self._think_us)

    def submit(self) -> None:
        """One more command, if there is room in the window."""
        if len(self.queue) >= self._window:
            return
        self.submitted += 1
        command = self.world.workload.command(self._chance, self.number, self.submitted)
        self.queue.add(command, Ticket(self.submitted, command))
        if self._link is not None:
            self._link.write()

    def _pause(self, action: Callable[[], None]) -> None:
        self._attempt += 1
        attempt = self._attempt
        delay = self._chance.randrange(*_PAUSE_US)
        self.world.timeline.after(delay, lambda: action() if self._attempt == attempt else None)

    # --- finding the leader ----------------------------------------------------------------

    def _find(self) -> None:
        """Ask every node, and those that they name, each at its own pace, until one says that it leads."""
        self._attempt += 1
        attempt, asked = self._attempt, set[str]()

        def ask(address: str) -> None:
            if address and address not in asked:
                asked.add(address)
                self._poll(attempt, address, ask)

        for host in self.world.known_hosts():
            ask(host.address)

    def _poll(self, attempt: int, address: str, ask: Callable[[str], None]) -> None:
        def done(result: object, error: Exception | None) -> None:
            if self._attempt != attempt:
                return
            leads, leader = result if error is None and isinstance(result, tuple) else (False, "")
            if leads:
                self._found(address)
                return
            self.world.timeline.after(self._chance.randrange(*_PAUSE_US), again)
            ask(leader)

        def again() -> None:
            if self._attempt == attempt:
                self._poll(attempt, address, ask)

        self.world.call(self.id, address, _ATTEMPT_US, lambda services, reply: services.status(reply), done)

    def _found(self, address: str) -> None:
        if self.queue.session_id:
            self._converse(address)
        else:
            self._open_at(address)

    def _open_at(self, address: str) -> None:
        self._attempt += 1
        attempt = self._attempt

        def done(result: object, error: Exception | None) -> None:
            if self._attempt != attempt:
                return
            if error is None and isinstance(result, SessionAnswer) and not _moves(self._check_open, result):
                self.queue.session_id = result.value
                self.sessions += 1
                self._converse(address)
            else:
                self._pause(self._find)

        name = f"{self.id}/{self.sessions}"
        self.world.call(self.id, address, _ATTEMPT_US, lambda services, reply: services.open_session(name, reply), done)

    def _check_open(self, answer: SessionAnswer) -> None:
        check_status(0, answer.status)

    # --- one stream ------------------------------------------------------------------------

    def _converse(self, address: str) -> None:
        self._attempt += 1
        host = self.world.host_at(address)
        if host is None or host.process is None:
            self._pause(self._find)
            return
        self._link = _Link(self, host, host.process)
        self._link.write()
        self._watch(self._link, Patience(_ATTEMPT_US / SECOND, self.queue.acknowledged))

    def _watch(self, link: _Link, patience: Patience) -> None:
        def look() -> None:
            if self._link is not link:
                return
            suspicion = patience.look(self.queue.in_flight, self.queue.acknowledged)
            if suspicion is Suspicion.GONE:
                self.moved(link)
                return
            if suspicion is Suspicion.SILENT:
                self._ask_whether_it_leads(link)
            self.world.timeline.after(_ATTEMPT_US, look)

        self.world.timeline.after(_ATTEMPT_US, look)

    def _ask_whether_it_leads(self, link: _Link) -> None:
        def done(result: object, error: Exception | None) -> None:
            leads = error is None and isinstance(result, tuple) and result[0]
            if self._link is link and not leads:
                self.moved(link)

        self.world.call(self.id, link.host.address, _ATTEMPT_US, lambda services, reply: services.status(reply), done)

    def moved(self, link: _Link) -> None:
        """The stream is over; find the leader again."""
        if self._link is link:
            self._link = None
            self.queue.stream_ended()
            self._pause(self._find)

    def take(self, link: _Link, sequence: int, answer: SessionAnswer) -> None:
        """An answer has come over ``link``."""
        if self._link is not link:
            return
        try:
            ticket = self.queue.answered(sequence, answer.status)
        except MovedError:
            self.moved(link)
        except SessionExpiredError:
            self._start_over()
        else:
            self.answered += 1
            self.world.checkers.acknowledged(self, ticket, sequence, answer)

    def ended(self, link: _Link, error: Exception | None) -> None:
        """The server has ended the stream."""
        if self._link is link and error is not None and not may_retry(error):
            self.world.fail(PROGRESS, f"{self.id} was refused: {error}")
        self.moved(link)

    def _start_over(self) -> None:
        """The session has expired: what had no answer stays unknown, a new session begins."""
        self.world.checkers.expired(self)
        self._link = None
        self.queue.give_up()
        self.queue = CommandQueue()
        self._pause(self._find)

    def _keep_alive(self) -> None:
        link = self._link
        if link is not None and not self.queue:
            session_id = self.queue.session_id
            self.world.call(
                self.id,
                link.host.address,
                _ATTEMPT_US,
                lambda services, reply: services.keep_alive(session_id, reply),
                lambda _result, _error: None,
            )
        self.world.timeline.after(_KEEP_ALIVE_US // 2, self._keep_alive)

    # --- reads -----------------------------------------------------------------------------

    def _read(self) -> None:
        """A linearizable read at some node, now and then."""
        self.read_at(self._chance.choice(self.world.known_hosts()))
        self.world.timeline.after(self._rest(), self._read)

    def read_at(self, host: Host) -> None:
        """A linearizable read at this node."""
        world = self.world
        query = self._chance.randrange(0, world.workload.queries)
        known = world.checkers.known()

        def done(result: object, error: Exception | None) -> None:
            if error is None and isinstance(result, tuple):
                world.checkers.read(self, host.id, query, known, result[0], result[1])

        world.call(self.id, host.address, _ATTEMPT_US, lambda services, reply: services.read(query, reply), done)


class _Link:
    """The connection of one stream: what goes one way keeps its order, and one end's death is the other's end."""

    def __init__(self, client: Client, host: Host, process: Process) -> None:
        self._client = client
        self.host = host
        self._process = process
        self._world = client.world
        self._arrivals = [0, 0]
        self._dead = False
        self._stream = CommandStream(process, self._answer, self._end)

    def write(self) -> None:
        """Send what has gathered in the client's queue."""
        queue = self._client.queue
        while (numbered := queue.next_to_write()) is not None:
            self._to_server(
                self._stream.request, queue.session_id, numbered.sequence, queue.acknowledged, numbered.command
            )

    def _to_server(self, action: Callable[..., None], *args: object) -> None:
        delay = self._delay(0, self._client.id, self.host.id)
        if delay is not None:
            self._world.timeline.after(delay, self._at_server, action, *args)

    def _at_server(self, action: Callable[..., None], *args: object) -> None:
        if not self._process.ended:
            self._process.enter(action, *args)
        elif self.host.refuses:
            self._to_client(self._client.moved, self)

    def _answer(self, sequence: int, answer: SessionAnswer) -> None:
        self._to_client(self._client.take, self, sequence, answer)

    def _end(self, error: Exception | None) -> None:
        self._to_client(self._client.ended, self, error)

    def _to_client(self, action: Callable[..., None], *args: object) -> None:
        delay = self._delay(1, self.host.id, self._client.id)
        if delay is not None:
            self._world.timeline.after(delay, action, *args)

    def _delay(self, way: int, source: str, target: str) -> int | None:
        """When the next message arrives; None when it never will: nothing follows what a cut has swallowed."""
        network, now = self._world.network, self._world.timeline.now
        self._dead = self._dead or not network.reaches(source, target)
        if self._dead:
            return None
        self._arrivals[way] = max(self._arrivals[way], now + network.latency(source, target))
        return self._arrivals[way] - now


def _moves(check: Callable[[SessionAnswer], None], answer: SessionAnswer) -> bool:
    try:
        check(answer)
    except (MovedError, MatchEngineError):
        return True
    return False


def may_retry(error: Exception) -> bool:
    """Whether the error speaks of the moment rather than of the request, as the status codes tell real clients."""
    return isinstance(error, BusyError | NotLeaderError) or not isinstance(error, RefusedError)
