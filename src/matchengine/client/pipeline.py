"""A pipelined session: commands in order, each exactly once, whatever leader takes them.

Commands wait in one queue in the order of their sequences.  They are written to a stream to the
leader; answers come in the same order and take them off the front.  When the stream breaks, the
next leader gets everything that is still in the queue, with the same sequences.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import grpc

from matchengine.client.channels import Channels
from matchengine.client.errors import (
    NoLeaderError,
    SessionExpiredError,
    SessionRefusedError,
)
from matchengine.client.leader import (
    ATTEMPT_S,
    LeaderFinder,
    leader_hint,
    may_retry,
    parse_addresses,
    pause,
)
from matchengine.errors import (
    MatchEngineError,
    RefusedError,
    StoppedError,
    UnknownOutcomeError,
)
from matchengine.v1 import machine_pb2 as pb
from matchengine.v1.machine_pb2_grpc import SessionsStub

C = TypeVar("C")
A = TypeVar("A")
C_contra = TypeVar("C_contra", contravariant=True)
R = TypeVar("R", bound="Answered")
A_co = TypeVar("A_co", covariant=True)

KEEP_ALIVE_S: Final = 30.0
TIMEOUT_S: Final = 10.0
WINDOW: Final = 32
#: A leader that still says that it leads is given this much longer to answer.
_PATIENCE_S: Final = 5.0


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


class _Ticket(Generic[C, A]):
    """A command under way."""

    __slots__ = ("command", "future", "sequence")

    def __init__(self, sequence: int, command: C, future: asyncio.Future[A]) -> None:
        self.sequence = sequence
        self.command = command
        self.future = future


class Session(Generic[C, A]):
    """One session of a cluster; ``window`` commands may be unanswered.

    ``watch``, if set, is called after every command written and every answer received.
    """

    def __init__(
        self,
        wire: Wire[C, A],
        finder: LeaderFinder,
        channels: Channels,
        *,
        name: str,
        window: int,
    ) -> None:
        if not 1 <= window <= 512:
            raise ValueError(f"window: {window} is not from 1 to 512")
        self.leader = ""
        self.streams = 0
        self.acknowledged = 0
        self.watch: Callable[[], None] | None = None
        self._wire = wire
        self._finder = finder
        self._channels = channels
        self._name = name
        self._session_id = 0
        self._next_sequence = 1
        self._queue: deque[_Ticket[C, A]] = deque()
        self._written = 0
        self._more = asyncio.Event()
        self._room = asyncio.Semaphore(window)
        self._window = window
        self._failure: MatchEngineError | None = None
        self._task: asyncio.Task[None] | None = None
        self._last_traffic = 0.0

    # --- the user's side -------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Commands on the wire that have no answer yet."""
        return self._written

    @property
    def session_id(self) -> int:
        """The id that the cluster gave, or 0 before the session is open."""
        return self._session_id

    async def open(self, timeout_s: float) -> None:
        """Find the leader and open the session; raises NoLeaderError or SessionRefusedError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not self._session_id:
            self.leader = await self._finder.find(max(0.0, deadline - loop.time()))
            with contextlib.suppress(_MovedError):
                await self._open_at(self.leader)
        self._task = loop.create_task(self._run())

    async def submit(self, command: C) -> asyncio.Future[A]:
        """Queue one command, after waiting for room in the window; the future gets its answer."""
        await self._room.acquire()
        if self._failure is not None:
            self._room.release()
            raise self._failure
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._queue.append(_Ticket(self._next_sequence, command, future))
        self._next_sequence += 1
        self._more.set()
        return future

    async def alone(self, call: Callable[[grpc.aio.Channel, int, int, int], Awaitable[R]]) -> R:
        """Send one command by a call of its own, while nothing else is under way.

        ``call(channel, session id, sequence, acknowledged)`` is repeated until it is answered.  Giving
        up before that ends the session: the sequence's outcome is unknown, so none may follow it.
        """
        async with self._whole_window():
            if self._failure is not None:
                raise self._failure
            sequence = self._next_sequence
            self._next_sequence += 1
            try:
                return await self._until_answered(sequence, call)
            except asyncio.CancelledError:
                self._fail(UnknownOutcomeError(f"sequence {sequence} was given up; it may still take effect"))
                raise

    async def _until_answered(
        self, sequence: int, call: Callable[[grpc.aio.Channel, int, int, int], Awaitable[R]]
    ) -> R:
        while True:
            try:
                return self._settle(await call(self._where(), self._session_id, sequence, self.acknowledged))
            except _MovedError as moved:
                await self._find_again(moved.hint)
            except grpc.aio.AioRpcError as error:
                if not may_retry(error):
                    self._next_sequence = sequence  # refused before the log: the number is free
                    raise RefusedError(str(error.details())) from error
                await self._find_again(leader_hint(error))

    async def close(self) -> None:
        """End the session at the cluster, if that is quickly done; commands under way fail with StoppedError."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail(StoppedError("the client was closed"))
        stub = SessionsStub(self._where())
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.Close(pb.CloseSessionRequest(session_id=self._session_id), timeout=ATTEMPT_S)

    # --- following the leader --------------------------------------------------------------

    async def _run(self) -> None:
        keeper = asyncio.create_task(self._keep_alive())
        try:
            while True:
                try:
                    await self._converse()
                except _MovedError as moved:
                    await self._find_again(moved.hint)
        except MatchEngineError as error:
            self._fail(error)
        finally:
            keeper.cancel()

    async def _find_again(self, hint: str) -> None:
        """The next leader; as long as commands wait there is no giving up."""
        self._finder.hint(hint)
        await pause()
        while True:
            with contextlib.suppress(NoLeaderError):
                self.leader = await self._finder.find(ATTEMPT_S * 10)
                return

    async def _open_at(self, address: str) -> None:
        stub = SessionsStub(self._channels.get(address))
        try:
            response = await stub.Open(pb.OpenSessionRequest(client_name=self._name), timeout=ATTEMPT_S)
        except grpc.aio.AioRpcError as error:
            if not may_retry(error):
                raise SessionRefusedError(f"session: {error.details()}") from error
            await pause()
            raise _MovedError(leader_hint(error)) from error
        if response.status != pb.SESSION_STATUS_OK:
            raise SessionRefusedError(f"session: {pb.SessionStatus.Name(response.status)}")
        self._session_id = response.session_id

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(KEEP_ALIVE_S / 2)
            if self._queue or loop.time() - self._last_traffic < KEEP_ALIVE_S:
                continue
            stub = SessionsStub(self._where())
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.KeepAlive(pb.KeepAliveRequest(session_id=self._session_id), timeout=ATTEMPT_S)

    # --- one stream ------------------------------------------------------------------------

    async def _converse(self) -> None:
        """Serve the queue over one stream; ends by raising ``_MovedError`` or what ended the session."""
        self._more.set()
        self.streams += 1
        stream = self._wire.open(self._where())
        writer = asyncio.create_task(self._write(stream))
        reader = asyncio.create_task(self._read(stream))
        watchdog = asyncio.create_task(self._watch_for_silence())
        try:
            await asyncio.wait((reader, watchdog), return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                raise _MovedError("")
            reader.result()
        except grpc.aio.AioRpcError as error:
            if not may_retry(error):
                raise SessionRefusedError(str(error.details())) from error
            raise _MovedError(leader_hint(error)) from error
        finally:
            self._written = 0
            for task in (writer, reader, watchdog):
                task.cancel()
            stream.cancel()

    async def _write(self, stream: Any) -> None:
        queue, wire = self._queue, self._wire
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader hears of it too
            while True:
                while self._written < len(queue):
                    ticket = queue[self._written]
                    self._written += 1
                    request = wire.request(
                        self._session_id,
                        ticket.sequence,
                        self.acknowledged,
                        ticket.command,
                    )
                    await stream.write(request)
                    if self.watch is not None:
                        self.watch()
                self._more.clear()
                await self._more.wait()

    async def _read(self, stream: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            response = await stream.read()
            if response is grpc.aio.EOF:
                raise _MovedError("")
            self._last_traffic = loop.time()
            self._take(response)
            if self.watch is not None:
                self.watch()

    def _take(self, response: Answered) -> None:
        """One answer: it belongs to the front of the queue, or the conversation has gone wrong."""
        if response.status != pb.SESSION_STATUS_OK:
            raise _refusal(response)
        if not self._written or response.sequence != self._queue[0].sequence:
            raise _MovedError("")
        ticket = self._queue.popleft()
        self._written -= 1
        self.acknowledged = ticket.sequence
        self._room.release()
        if not ticket.future.done():
            ticket.future.set_result(self._wire.answer(response))

    async def _watch_for_silence(self) -> None:
        """Return when the node owes answers and is silent: at once if it leads no more, else later."""
        silent_s = 0.0
        while True:
            acknowledged = self.acknowledged
            await asyncio.sleep(ATTEMPT_S)
            if not self._written or self.acknowledged != acknowledged:
                silent_s = 0.0
                continue
            silent_s += ATTEMPT_S
            if silent_s >= _PATIENCE_S or not await self._still_leads():
                return

    async def _still_leads(self) -> bool:
        try:
            return await self._finder.find(ATTEMPT_S) == self.leader
        except NoLeaderError:
            return False

    # --- helpers ---------------------------------------------------------------------------

    def _where(self) -> grpc.aio.Channel:
        return self._channels.get(self.leader)

    def _settle(self, response: R) -> R:
        """The answer to a command sent alone, if the session accepted it."""
        if response.status != pb.SESSION_STATUS_OK:
            raise _refusal(response)
        self.acknowledged = response.sequence
        return response

    def _fail(self, error: MatchEngineError) -> None:
        self._failure = error
        while self._queue:
            ticket = self._queue.popleft()
            if not ticket.future.done():
                ticket.future.set_exception(error)
            self._room.release()

    @contextlib.asynccontextmanager
    async def _whole_window(self) -> AsyncIterator[None]:
        taken = 0
        try:
            while taken < self._window:
                await self._room.acquire()
                taken += 1
            yield
        finally:
            for _ in range(taken):
                self._room.release()


class _MovedError(Exception):
    """The stream is over; the leader may be elsewhere."""

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


def _refusal(response: Answered) -> Exception:
    """What a status other than OK means for the session."""
    status = response.status
    if status == pb.SESSION_STATUS_UNKNOWN_SESSION:
        return SessionExpiredError(
            "the cluster no longer knows this session; whether its unacknowledged commands took effect is unknown"
        )
    if status in (pb.SESSION_STATUS_SESSION_FULL, pb.SESSION_STATUS_SEQUENCE_GAP):
        # Full: the next attempt brings newer acknowledgements along.  Gap: what follows a refused one.
        return _MovedError("")
    return SessionRefusedError(f"sequence {response.sequence}: {pb.SessionStatus.Name(status)}")


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
        finder = LeaderFinder(self.addresses, self.channels)
        self.session = Session(wire, finder, self.channels, name=name, window=window)

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
