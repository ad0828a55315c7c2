"""Clients of a simulated cluster: the real session logic, on simulated connections.

A client finds the leader, opens a session, keeps a window of commands under way, follows the leader when it
moves, and reads at any node.  What it was told is handed to the checkers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from matchengine.answers import whole
from matchengine.client.commands import CommandQueue, LoneCommand, MovedError
from matchengine.client.contracts import ATTEMPT_S, Failure, NodeStatus, Opened, Slice
from matchengine.client.errors import SessionRefusedError
from matchengine.client.pursuit import Pursuit
from matchengine.errors import BusyError, MatchEngineError, NotLeaderError, RefusedError
from matchengine.sessions import SessionAnswer, SessionStatus, command_envelope
from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.invariants import PROGRESS
from matchengine.testing.simulator.services import CommandStream, Reply, Services
from matchengine.testing.simulator.timeline import MS, SECOND

if TYPE_CHECKING:
    from matchengine.testing.simulator.host import Host
    from matchengine.testing.simulator.world import World

#: How often a command is sent by a call of its own when nothing else is under way, and how often nobody waits for its
#: answer any longer than this.
_ALONE: Final = 0.2
_GIVEN_UP: Final = 0.05
_GIVEN_UP_S: Final = 1.0
_PAUSE_S: Final = 0.01
#: How long a client rests that only its keep-alives keep in the cluster's mind.
_SLEEP_US: Final = (1 * SECOND, 30 * SECOND)
#: What a client that sends commands in long bursts may have under way.
_LONG_WINDOW: Final = 32


class Ticket:
    """A command of a client, by its number; ``parts`` are the slices of its answer that are here."""

    __slots__ = ("command", "number", "parts", "submitted_at")

    def __init__(self, number: int, command: bytes, submitted_at: int) -> None:
        self.number = number
        self.command = command
        self.parts = b""
        self.submitted_at = submitted_at


class Client:
    """One client; ``number`` counts from 1."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.id = f"c{number}"
        self.submitted = 0
        self.answered = 0
        self.sessions = 0
        #: When it did something in its session last that was answered since, in simulated microseconds.
        self.used_at = 0
        self._chance = world.stream("client", number)
        self._window = self._chance.randrange(1, 9) if world.burst < _LONG_WINDOW else _LONG_WINDOW
        self._think_us = world.think_us
        self._session = self._new_session()
        world.timeline.after(self._chance.randrange(0, 500 * MS), self._session.begin)
        world.timeline.after(self._chance.randrange(0, SECOND), self._think)
        world.timeline.after(self._chance.randrange(0, SECOND), self._read)

    @property
    def queue(self) -> CommandQueue[bytes, Ticket]:
        """The commands of its session that have no answer."""
        return self._session.pursuit.commands

    @property
    def is_resting(self) -> bool:
        """Whether nothing is under way."""
        return not self.queue and not self._session.is_alone

    def _new_session(self) -> Session:
        self.sessions += 1
        return Session(self, self._chance)

    # --- working ---------------------------------------------------------------------------

    def _think(self) -> None:
        """Submit a few commands, now and then."""
        world = self.world
        if not world.is_closing:
            for _ in range(1 + self._chance.skewed(0, world.burst)):
                self.submit()
        world.timeline.after(self._rest(), self._think)

    def _rest(self) -> int:
        if self.number == 1 and self.world.sleeps:
            return self._chance.skewed(*_SLEEP_US)
        return self._chance.skewed(self._think_us // 4, 4 * self._think_us)

    def submit(self) -> None:
        """One more command, if there is room in the window; some are sent by a call of their own."""
        if len(self.queue) >= self._window or self._session.is_alone:
            return
        self.submitted += 1
        command = self.world.workload.command(self._chance, self.number, self.submitted)
        ticket = Ticket(self.submitted, command, self.world.timeline.now)
        if self.queue.session_id and not self.queue and self._chance.happens(_ALONE):
            self._session.send_alone(ticket)
        else:
            self._session.pursuit.add(ticket.command, ticket)

    # --- what the session tells ------------------------------------------------------------

    def take(self, ticket: Ticket, sequence: int, answer: SessionAnswer) -> None:
        """A command has its answer."""
        self.answered += 1
        self.used_at = max(self.used_at, ticket.submitted_at)
        self.world.checkers.acknowledged(self, ticket, sequence, answer)

    def over(self, error: MatchEngineError) -> None:
        """The session has ended: what had no answer stays unknown, a new one begins."""
        if isinstance(error, SessionRefusedError):
            self.world.fail(PROGRESS, f"{self.id} was refused: {error}")
        self.world.checkers.over(self, error)
        self._session = self._new_session()
        self._session.begin()

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

        world.call(
            self.id, host.address, round(ATTEMPT_S * SECOND), lambda services, reply: services.read(query, reply), done
        )


class Session:
    """The real logic of one session, on simulated calls; see :class:`matchengine.client.contracts.Cluster`."""

    def __init__(self, client: Client, chance: Chance) -> None:
        self.client = client
        self._world = client.world
        self._name = f"{client.id}/{client.sessions}"
        self._chance = chance
        self._lone: _Lone | None = None
        addresses = [host.address for host in self._world.known_hosts()]
        self.pursuit: Pursuit[bytes, Ticket] = Pursuit(addresses, self)

    def begin(self) -> None:
        """Find the leader and open the session."""
        self.pursuit.begin()

    @property
    def is_alone(self) -> bool:
        """Whether a command is under way beside the stream."""
        return self._lone is not None

    def send_alone(self, ticket: Ticket) -> None:
        """Send one command by calls of its own, while nothing else is under way."""
        self._lone = lone = _Lone(self, ticket)
        lone.send()
        if self._chance.happens(_GIVEN_UP):
            self.later(_GIVEN_UP_S, lambda: self._give_up(lone))

    def lone_answered(self, ticket: Ticket, sequence: int, answer: SessionAnswer) -> None:
        """The command sent alone has its answer."""
        self._lone = None
        self.client.take(ticket, sequence, answer)

    def lone_failed(self, error: MatchEngineError) -> None:
        """The command sent alone was refused, or has ended the session."""
        self._lone = None
        if not isinstance(error, RefusedError):
            self.pursuit.end(error)

    def _give_up(self, lone: _Lone) -> None:
        if self._lone is lone:
            self.lone_failed(lone.command.given_up())

    # --- Nodes -----------------------------------------------------------------------------

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """See :class:`matchengine.client.contracts.Nodes`."""
        self._world.timeline.after(round(delay_s * SECOND), action)

    def jitter(self) -> float:
        """See :class:`matchengine.client.contracts.Nodes`."""
        return self._chance.random()

    def ask_status(self, address: str, done: Callable[[NodeStatus | None], None]) -> None:
        """See :class:`matchengine.client.contracts.Nodes`."""

        def heard(result: object, error: Exception | None) -> None:
            done(NodeStatus(*result) if error is None and isinstance(result, tuple) else None)

        self.call(address, lambda services, reply: services.status(reply), heard)

    # --- Cluster ---------------------------------------------------------------------------

    def open_session(self, address: str, done: Callable[[Opened | Failure], None]) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""
        asked_at = self._world.timeline.now

        def heard(result: object, error: Exception | None) -> None:
            if isinstance(result, SessionAnswer):
                self.client.used_at = asked_at
            done(Opened(result.value, result.status) if isinstance(result, SessionAnswer) else failure(error))

        self.call(address, lambda services, reply: services.open_session(self._name, reply), heard)

    def keep_alive(self, address: str, session_id: int, done: Callable[[int | Failure], None]) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""
        asked_at = self._world.timeline.now

        def heard(result: object, error: Exception | None) -> None:
            if isinstance(result, SessionAnswer) and result.status is SessionStatus.OK:
                self.client.used_at = max(self.client.used_at, asked_at)
            done(result.status if isinstance(result, SessionAnswer) else failure(error))

        self.call(address, lambda services, reply: services.keep_alive(session_id, reply), heard)

    def open_stream(self, address: str) -> Link:
        """See :class:`matchengine.client.contracts.Cluster`."""
        return Link(self, address)

    def sliced(self, ticket: Ticket, response: tuple[int, SessionAnswer], known: int) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""
        ticket.parts += whole(response[1].payload)[known:]

    def answered(self, ticket: Ticket, response: tuple[int, SessionAnswer], known: int) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""
        if ticket.parts:
            self._world.count("answers in slices")
        self.sliced(ticket, response, known)
        sequence, answer = response
        self.client.take(ticket, sequence, SessionAnswer(answer.status, answer.value, ticket.parts))

    def session_opened(self) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""

    def session_over(self, error: MatchEngineError, tickets: list[Ticket]) -> None:
        """See :class:`matchengine.client.contracts.Cluster`."""
        del tickets
        self.client.over(error)

    def call(self, address: str, ask: Callable[[Services, Reply], None], done: Reply) -> None:
        """Ask the services of one node, with a client's patience."""
        self._world.call(self.client.id, address, round(ATTEMPT_S * SECOND), ask, done)


class _Lone:
    """A command that is sent by calls of its own."""

    def __init__(self, session: Session, ticket: Ticket) -> None:
        self._session = session
        self._ticket = ticket
        self.command = LoneCommand(session.pursuit.commands)

    def send(self) -> None:
        """Send it to the leader, as soon as there is one."""
        session, pursuit, sequence = self._session, self._session.pursuit, self.command.sequence
        if pursuit.is_over:
            return
        if not pursuit.is_conversing:
            session.later(_PAUSE_S, self.send)
            return
        commands, leader = pursuit.commands, pursuit.leader
        envelope = command_envelope(commands.session_id, sequence, commands.acknowledged, self._ticket.command)

        def heard(result: object, error: Exception | None) -> None:
            if not pursuit.is_over:
                self._heard(leader, result, error)

        session.call(leader, lambda services, reply: services.apply(envelope, reply), heard)

    def _heard(self, leader: str, result: object, error: Exception | None) -> None:
        session, sequence = self._session, self.command.sequence
        hint = ""
        try:
            if isinstance(result, SessionAnswer):
                self.command.answered(sequence, result.status)
                session.lone_answered(self._ticket, sequence, result)
                return
            failed = failure(error)
            hint = failed.hint
            self.command.failed(failed)
        except MovedError:
            pass
        except MatchEngineError as ended:
            session.lone_failed(ended)
            return
        session.pursuit.moved_from(leader, hint)
        self.send()


class Link:
    """The connection of one stream: what goes one way keeps its order, and one end's death is the other's end."""

    def __init__(self, session: Session, address: str) -> None:
        self._session = session
        self._client = session.client.id
        self._world = session.client.world
        host = self._world.host_at(address)
        self._host = host
        self._process = None if host is None else host.process
        self._arrivals = [0, 0]
        self._dead = False
        if self._process is None:
            self._world.timeline.after(0, self._failed, Failure("connection refused"))
        else:
            self._stream = CommandStream(self._process, self._answer, self._end)

    def write(self) -> None:
        """See :class:`matchengine.client.contracts.Stream`."""
        queue = self._session.pursuit.commands
        if self._process is None:
            return
        while (numbered := queue.next_to_write()) is not None:
            if numbered.position:
                self._world.count("answers continued")
            self._to_server(
                self._stream.request,
                queue.session_id,
                numbered.sequence,
                queue.acknowledged,
                numbered.command,
                numbered.position,
            )

    def cancel(self) -> None:
        """See :class:`matchengine.client.contracts.Stream`; the server hears of it when it next answers."""

    def _failed(self, failed: Failure) -> None:
        self._session.pursuit.failed(self, failed)

    def _to_server(self, action: Callable[..., None], *args: object) -> None:
        assert self._host is not None
        delay = self._delay(0, self._client, self._host.id)
        if delay is not None:
            self._world.timeline.after(delay, self._at_server, action, *args)

    def _at_server(self, action: Callable[..., None], *args: object) -> None:
        assert self._host is not None
        assert self._process is not None
        if not self._process.ended:
            self._process.enter(action, *args)
        elif self._host.refuses:
            self._to_client(self._failed, Failure("connection reset"))

    def _answer(self, sequence: int, answer: SessionAnswer, part: Slice) -> None:
        self._to_client(self._session.pursuit.take, self, sequence, answer.status, (sequence, answer), part)

    def _end(self, error: Exception | None) -> None:
        self._to_client(self._failed, failure(error))

    def _to_client(self, action: Callable[..., None], *args: object) -> None:
        assert self._host is not None
        delay = self._delay(1, self._host.id, self._client)
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


def failure(error: Exception | None) -> Failure:
    """What an error says, as the status codes of the services tell real clients."""
    may_retry = isinstance(error, BusyError) or not isinstance(error, RefusedError)
    return Failure(str(error), may_retry, error.leader_address if isinstance(error, NotLeaderError) else "")
