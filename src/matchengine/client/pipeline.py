"""A pipelined session: commands in order, each exactly once, whatever leader takes them.

Commands wait in one queue in the order of their sequences.  They are written to a stream to the
leader; answers come in the same order and take them off the front.  When the stream breaks, the
next leader gets everything that is still in the queue, with the same sequences.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import grpc

from matchengine.client.calls import Calls, SessionCalls, failure
from matchengine.client.channels import Channels
from matchengine.client.commands import LoneCommand, MovedError
from matchengine.client.contracts import ATTEMPT_S, Failure, Slice
from matchengine.client.leader import no_leader, parse_addresses
from matchengine.client.pursuit import Pursuit
from matchengine.errors import MatchEngineError, RefusedError, StoppedError, UnknownOutcomeError
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.machine_pb2_grpc import SessionsStub

C = TypeVar("C")
A = TypeVar("A")
C_contra = TypeVar("C_contra", contravariant=True)
R = TypeVar("R", bound="Answered")
A_co = TypeVar("A_co", covariant=True)

TIMEOUT_S: Final = 10.0
WINDOW: Final = 32


class Answered(Protocol):
    """What every answer of a session's stream carries."""

    sequence: int
    status: pb.SessionStatus


class Wire(Protocol[C_contra, A_co]):
    """How commands and answers of one service travel."""

    def open(self, channel: grpc.aio.Channel) -> Any:
        """A bidirectional stream."""
        ...

    def request(self, session_id: int, sequence: int, acknowledged: int, command: C_contra, position: int) -> Any:
        """The message for one command, whose answer is to begin at ``position``."""
        ...

    def size(self, response: Any) -> int:
        """How much of an answer is in a response, in the units of positions."""
        ...

    def rest(self, response: Any, known: int) -> Any:
        """The response without its first ``known`` units."""
        ...

    def answer(self, response: Any) -> A_co:
        """What the caller gets for one response."""
        ...

    def assembly(self) -> Assembly[A_co]:
        """Where the slices of one answer become what the caller gets."""
        ...


class Assembly(Protocol[A_co]):
    """Responses to one command, put together."""

    def add(self, response: Any) -> None:
        """The next one."""
        ...

    def whole(self) -> A_co:
        """All of them, as if one response had held all."""
        ...


class _Ticket(Generic[A]):
    """Who waits for an answer.  ``heard`` gets every response; a ticket that ``keeps`` them puts them together."""

    __slots__ = ("assembly", "future", "heard", "keeps")

    def __init__(self, future: asyncio.Future[A], heard: Callable[[Any], None] | None, *, keeps: bool) -> None:
        self.future = future
        self.heard = heard
        self.keeps = keeps
        self.assembly: Assembly[A] | None = None


class Session(Generic[C, A]):
    """One session of a cluster; ``window`` commands may be unanswered.

    ``watch``, if set, is called after every command written and every answer received.
    """

    def __init__(
        self, wire: Wire[C, A], addresses: Sequence[str], channels: Channels, *, name: str, window: int
    ) -> None:
        if not 1 <= window <= 512:
            raise ValueError(f"window: {window} is not from 1 to 512")
        self.watch: Callable[[], None] | None = None
        self.wire = wire
        self._calls = _Calls(self, channels, name)
        self.pursuit: Pursuit[C, _Ticket[A]] = Pursuit(addresses, self._calls)
        self._addresses = addresses
        self._room = asyncio.Semaphore(window)
        self._window = window
        #: Held by the one that takes the whole window: two that take it bit by bit would wait for each other.
        self._takes_all = asyncio.Lock()
        self._failure: MatchEngineError | None = None
        self._opened: asyncio.Future[None] | None = None
        #: Set while there is a leader to send to, and when there will be none any more.
        self._has_leader = asyncio.Event()

    # --- the user's side -------------------------------------------------------------------

    @property
    def leader(self) -> str:
        """The address of the leader that was found last, or ``""``."""
        return self.pursuit.leader

    @property
    def streams(self) -> int:
        """How many streams there have been."""
        return self.pursuit.streams

    @property
    def in_flight(self) -> int:
        """Commands on the wire that have no answer yet."""
        return self.pursuit.commands.in_flight

    @property
    def acknowledged(self) -> int:
        """The sequence of the last command whose answer is here."""
        return self.pursuit.commands.acknowledged

    @property
    def session_id(self) -> int:
        """The id that the cluster gave, or 0 before the session is open."""
        return self.pursuit.commands.session_id

    async def open(self, timeout_s: float) -> None:
        """Find the leader and open the session, if it is not open yet; raises NoLeaderError or SessionRefusedError."""
        if self.session_id and self._failure is not None:
            raise self._failure
        if self.session_id and not self.pursuit.is_over:
            return
        self._failure = None
        self._opened = asyncio.get_running_loop().create_future()
        self.pursuit.begin()
        try:
            async with asyncio.timeout(timeout_s):
                await self._opened
        except TimeoutError:
            self._stop()
            raise no_leader(self._addresses, timeout_s) from None
        except BaseException:
            self._stop()
            raise

    async def submit(
        self, command: C, heard: Callable[[Any], None] | None = None, *, keeps: bool = True
    ) -> asyncio.Future[A]:
        """Queue one command, after waiting for room in the window; the future gets its answer.

        ``heard``, if given, is called with every response, of which an answer in slices has many.  Unless the session
        ``keeps`` them, the future gets the last one only.
        """
        await self._room.acquire()
        if self._failure is not None:
            self._room.release()
            raise self._failure
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self.pursuit.add(command, _Ticket(future, heard, keeps=keeps))
        return future

    async def alone(self, call: Callable[[grpc.aio.Channel, int, int, int], Awaitable[R]]) -> R:
        """Send one command by a call of its own, while nothing else is under way.

        ``call(channel, session id, sequence, acknowledged)`` is repeated until it is answered.  Giving
        up before that ends the session: the sequence's outcome is unknown, so none may follow it.
        """
        async with self._whole_window():
            if self._failure is not None:
                raise self._failure
            lone = LoneCommand(self.pursuit.commands)
            try:
                return await self._until_answered(lone, call)
            except RefusedError:
                raise
            except MatchEngineError as error:
                self.pursuit.end(error)
                raise
            except BaseException:
                self.pursuit.end(lone.given_up())
                raise

    async def _until_answered(
        self,
        lone: LoneCommand[C, _Ticket[A]],
        call: Callable[[grpc.aio.Channel, int, int, int], Awaitable[R]],
    ) -> R:
        while True:
            await self._has_leader.wait()
            if self._failure is not None:
                raise self._failure
            leader = self.leader
            try:
                response = await call(
                    self._calls.channels.get(leader), self.session_id, lone.sequence, self.acknowledged
                )
                lone.answered(response.sequence, response.status)
            except MovedError:
                self.pursuit.moved_from(leader, "")
            except grpc.aio.AioRpcError as error:
                failed = failure(error)
                lone.failed(failed)
                self.pursuit.moved_from(leader, failed.hint)
            else:
                return response

    async def close(self) -> None:
        """End the session at the cluster, if that is quickly done; commands under way fail with StoppedError."""
        if not self.session_id:
            return
        self.pursuit.end(StoppedError("the client was closed"))
        await self._calls.close()
        stub = SessionsStub(self._calls.channels.get(self.leader))
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.Close(pb.CloseSessionRequest(session_id=self.session_id), timeout=ATTEMPT_S)

    # --- what the pursuit tells ------------------------------------------------------------

    def opened(self) -> None:
        """The session has its id."""
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def over(self, error: MatchEngineError, tickets: Sequence[_Ticket[A]]) -> None:
        """The session has ended; these commands have no answer."""
        self._failure = error
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)
        for ticket in tickets:
            if not ticket.future.done():
                ticket.future.set_exception(error)
            self._room.release()
        self._has_leader.set()

    def sliced(self, ticket: _Ticket[A], response: Any, known: int) -> None:
        """A slice of an answer is here, not the last."""
        if ticket.future.done():
            return
        if known:
            response = self.wire.rest(response, known)
        if ticket.keeps:
            if ticket.assembly is None:
                ticket.assembly = self.wire.assembly()
            ticket.assembly.add(response)
        if ticket.heard is not None:
            ticket.heard(response)

    def answered(self, ticket: _Ticket[A], response: Any, known: int) -> None:
        """One command has its answer, or the last slice of it."""
        self._room.release()
        if ticket.future.done():
            return
        if known:
            response = self.wire.rest(response, known)
        if ticket.heard is not None:
            ticket.heard(response)
        if ticket.assembly is None:
            ticket.future.set_result(self.wire.answer(response))
        else:
            ticket.assembly.add(response)
            ticket.future.set_result(ticket.assembly.whole())

    def conversing(self, *, on: bool) -> None:
        """A stream has begun or ended."""
        if on:
            self._has_leader.set()
        else:
            self._has_leader.clear()

    def _stop(self) -> None:
        self.pursuit.stop()
        self._calls.cancel()

    @contextlib.asynccontextmanager
    async def _whole_window(self) -> AsyncIterator[None]:
        async with self._takes_all:
            taken = 0
            try:
                while taken < self._window:
                    await self._room.acquire()
                    taken += 1
                yield
            finally:
                for _ in range(taken):
                    self._room.release()


class _Calls(SessionCalls, Generic[C, A]):
    """See :class:`matchengine.client.contracts.Cluster`."""

    def __init__(self, session: Session[C, A], channels: Channels, name: str) -> None:
        super().__init__(channels, name)
        self._session = session

    def open_stream(self, address: str) -> _Stream[C, A]:
        return _Stream(self._session, self, self._session.wire.open(self.channels.get(address)))

    def sliced(self, ticket: _Ticket[A], response: Any, known: int) -> None:
        self._session.sliced(ticket, response, known)

    def answered(self, ticket: _Ticket[A], response: Any, known: int) -> None:
        self._session.answered(ticket, response, known)

    def session_opened(self) -> None:
        self._session.opened()

    def session_over(self, error: MatchEngineError, tickets: list[_Ticket[A]]) -> None:
        self._session.over(error, tickets)


class _Stream(Generic[C, A]):
    """See :class:`matchengine.client.contracts.Stream`: two tasks, one that writes and one that reads."""

    def __init__(self, session: Session[C, A], calls: Calls, stream: Any) -> None:
        self._session = session
        self._stream = stream
        self._more = asyncio.Event()
        self._tasks = (calls.spawn(self._write_all()), calls.spawn(self._read_all()))
        session.conversing(on=True)

    def write(self) -> None:
        self._more.set()

    def cancel(self) -> None:
        self._session.conversing(on=False)
        for task in self._tasks:
            task.cancel()
        self._stream.cancel()

    async def _write_all(self) -> None:
        session, commands = self._session, self._session.pursuit.commands
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader hears of it too
            while True:
                while (numbered := commands.next_to_write()) is not None:
                    request = session.wire.request(
                        commands.session_id,
                        numbered.sequence,
                        commands.acknowledged,
                        numbered.command,
                        numbered.position,
                    )
                    await self._stream.write(request)
                    if session.watch is not None:
                        session.watch()
                self._more.clear()
                await self._more.wait()

    async def _read_all(self) -> None:
        session, pursuit = self._session, self._session.pursuit
        try:
            while (response := await self._stream.read()) is not grpc.aio.EOF:
                part = None
                if response.more or response.position:
                    part = Slice(response.position, session.wire.size(response), response.more)
                pursuit.take(self, response.sequence, response.status, response, part)
                if session.watch is not None:
                    session.watch()
            pursuit.failed(self, Failure("the stream has ended"))
        except grpc.aio.AioRpcError as error:
            pursuit.failed(self, failure(error))


class SessionClient(Generic[C, A]):
    """What all clients share: addresses, channels, one session, and its life.

    Use it as an async context manager, or call :meth:`open` and :meth:`close`.  ``addresses`` is
    ``"host:port,…"`` or a sequence; one that answers is enough.  ``window`` bounds the commands
    under way, ``timeout_s`` how long a call waits, or how long nothing may come of a long answer.
    """

    def __init__(
        self,
        wire: Wire[C, A],
        addresses: str | Sequence[str],
        *,
        name: str = "",
        timeout_s: float = TIMEOUT_S,
        window: int = WINDOW,
    ) -> None:
        self.addresses = parse_addresses(addresses)
        self.timeout_s = timeout_s
        self.channels = Channels()
        self.session = Session(wire, self.addresses, self.channels, name=name, window=window)

    async def open(self) -> None:
        """Find the leader and open the session."""
        await self.session.open(self.timeout_s)

    async def close(self) -> None:
        """End the session and the connections."""
        await self.session.close()
        await self.channels.close()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.channels.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def check(self, command: C) -> None:
        """Raise what is to be raised for a command that cannot be sent; it gets no sequence."""

    async def submit(self, command: C) -> asyncio.Future[A]:
        """Queue one command as soon as the window has room; the future gets its answer."""
        self.check(command)
        return await self.session.submit(command)

    async def apply(self, command: C) -> A:
        """One command, its answer awaited.

        UnknownOutcomeError when nothing of the answer comes for ``timeout_s``: the session keeps trying, so the
        command may still take effect, once.
        """
        self.check(command)
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self.timeout_s) as limit:

                def heard(_response: object) -> None:
                    limit.reschedule(clock() + self.timeout_s)

                return await (await self.session.submit(command, heard))
        except TimeoutError:
            raise self._no_answer() from None

    async def slices(self, command: C) -> AsyncIterator[A]:
        """One command, its answer in slices as they come; a small answer is one slice.

        UnknownOutcomeError as from :meth:`apply`.
        """
        self.check(command)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        future: asyncio.Future[A] | None = None
        try:
            async with asyncio.timeout(self.timeout_s):
                future = await self.session.submit(command, queue.put_nowait, keeps=False)
                future.add_done_callback(lambda _: queue.put_nowait(None))
                response = await queue.get()
            while response is not None:
                yield self.session.wire.answer(response)
                async with asyncio.timeout(self.timeout_s):
                    response = await queue.get()
            future.result()
        except TimeoutError:
            raise self._no_answer() from None
        finally:
            if future is not None:
                future.cancel()

    def _no_answer(self) -> UnknownOutcomeError:
        return UnknownOutcomeError(f"no answer within {self.timeout_s:g} s; the command may still take effect")
