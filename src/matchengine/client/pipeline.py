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
from matchengine.client.contracts import ATTEMPT_S, Failure
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

    def request(self, session_id: int, sequence: int, acknowledged: int, command: C_contra) -> Any:
        """The message for one command."""
        ...

    def answer(self, response: Any) -> A_co:
        """What the caller gets."""
        ...


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
        self.pursuit: Pursuit[C, asyncio.Future[A]] = Pursuit(addresses, self._calls)
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

    async def submit(self, command: C) -> asyncio.Future[A]:
        """Queue one command, after waiting for room in the window; the future gets its answer."""
        await self._room.acquire()
        if self._failure is not None:
            self._room.release()
            raise self._failure
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self.pursuit.add(command, future)
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
        lone: LoneCommand[C, asyncio.Future[A]],
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

    def over(self, error: MatchEngineError, futures: Sequence[asyncio.Future[A]]) -> None:
        """The session has ended; these commands have no answer."""
        self._failure = error
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)
        for future in futures:
            if not future.done():
                future.set_exception(error)
            self._room.release()
        self._has_leader.set()

    def answered(self, future: asyncio.Future[A], response: Any) -> None:
        """One command has its answer."""
        self._room.release()
        if not future.done():
            future.set_result(self.wire.answer(response))

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

    def answered(self, ticket: asyncio.Future[A], response: Any) -> None:
        self._session.answered(ticket, response)

    def session_opened(self) -> None:
        self._session.opened()

    def session_over(self, error: MatchEngineError, tickets: list[asyncio.Future[A]]) -> None:
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
                        commands.session_id, numbered.sequence, commands.acknowledged, numbered.command
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
                pursuit.take(self, response.sequence, response.status, response)
                if session.watch is not None:
                    session.watch()
            pursuit.failed(self, Failure("the stream has ended"))
        except grpc.aio.AioRpcError as error:
            pursuit.failed(self, failure(error))


class SessionClient(Generic[C, A]):
    """What all clients share: addresses, channels, one session, and its life.

    Use it as an async context manager, or call :meth:`open` and :meth:`close`.  ``addresses`` is
    ``"host:port,…"`` or a sequence; one that answers is enough.  ``window`` bounds the commands
    under way, ``timeout_s`` how long a call waits.
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

    async def submit(self, command: C) -> asyncio.Future[A]:
        """Queue one command as soon as the window has room; the future gets its answer."""
        return await self.session.submit(command)

    async def apply(self, command: C) -> A:
        """One command, its answer awaited.

        UnknownOutcomeError when there is none in time: the session keeps trying, so the command
        may still take effect, once.
        """
        return await within(self.timeout_s, self.submit(command))


async def within(timeout_s: float, submission: Awaitable[asyncio.Future[A]]) -> A:
    """The answer of a submitted command; UnknownOutcomeError when there is none in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await (await submission)
    except TimeoutError:
        raise UnknownOutcomeError(f"no answer within {timeout_s:g} s; the command may still take effect") from None
