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

from matchengine.client.channels import Channels
from matchengine.client.commands import CommandQueue, MovedError, Patience, Suspicion, check_status
from matchengine.client.errors import NoLeaderError, SessionRefusedError
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
        self.watch: Callable[[], None] | None = None
        self._wire = wire
        self._finder = finder
        self._channels = channels
        self._name = name
        self._commands: CommandQueue[C, asyncio.Future[A]] = CommandQueue()
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
        return self._commands.in_flight

    @property
    def acknowledged(self) -> int:
        """The sequence of the last command whose answer is here."""
        return self._commands.acknowledged

    @property
    def session_id(self) -> int:
        """The id that the cluster gave, or 0 before the session is open."""
        return self._commands.session_id

    async def open(self, timeout_s: float) -> None:
        """Find the leader and open the session; raises NoLeaderError or SessionRefusedError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not self.session_id:
            self.leader = await self._finder.find(max(0.0, deadline - loop.time()))
            with contextlib.suppress(MovedError):
                await self._open_at(self.leader)
        self._task = loop.create_task(self._run())

    async def submit(self, command: C) -> asyncio.Future[A]:
        """Queue one command, after waiting for room in the window; the future gets its answer."""
        await self._room.acquire()
        if self._failure is not None:
            self._room.release()
            raise self._failure
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._commands.add(command, future)
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
            sequence = self._commands.take_sequence()
            try:
                return await self._until_answered(sequence, call)
            except asyncio.CancelledError:
                self._fail(UnknownOutcomeError(f"sequence {sequence} was given up; it may still take effect"))
                raise

    async def _until_answered(
        self, sequence: int, call: Callable[[grpc.aio.Channel, int, int, int], Awaitable[R]]
    ) -> R:
        has_failed = False
        while True:
            try:
                return self._settle(await call(self._where(), self.session_id, sequence, self.acknowledged))
            except MovedError as moved:
                await self._find_again(moved.hint)
            except grpc.aio.AioRpcError as error:
                if may_retry(error):
                    has_failed = True
                    await self._find_again(leader_hint(error))
                    continue
                if has_failed:
                    # An attempt before may be in the log: the next command would get its answer for its own.
                    unknown = UnknownOutcomeError(f"sequence {sequence} was refused after a failure: {error.details()}")
                    self._fail(unknown)
                    raise unknown from error
                self._commands.give_back(sequence)
                raise RefusedError(str(error.details())) from error

    async def close(self) -> None:
        """End the session at the cluster, if that is quickly done; commands under way fail with StoppedError."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail(StoppedError("the client was closed"))
        stub = SessionsStub(self._where())
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.Close(pb.CloseSessionRequest(session_id=self.session_id), timeout=ATTEMPT_S)

    # --- following the leader --------------------------------------------------------------

    async def _run(self) -> None:
        keeper = asyncio.create_task(self._keep_alive())
        try:
            while True:
                try:
                    await self._converse()
                except MovedError as moved:
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
            raise MovedError(leader_hint(error)) from error
        if response.status != pb.SESSION_STATUS_OK:
            raise SessionRefusedError(f"session: {pb.SessionStatus.Name(response.status)}")
        self._commands.session_id = response.session_id

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(KEEP_ALIVE_S / 2)
            if self._commands or loop.time() - self._last_traffic < KEEP_ALIVE_S:
                continue
            stub = SessionsStub(self._where())
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.KeepAlive(pb.KeepAliveRequest(session_id=self.session_id), timeout=ATTEMPT_S)

    # --- one stream ------------------------------------------------------------------------

    async def _converse(self) -> None:
        """Serve the queue over one stream; ends by raising ``MovedError`` or what ended the session."""
        self._more.set()
        self.streams += 1
        stream = self._wire.open(self._where())
        writer = asyncio.create_task(self._write(stream))
        reader = asyncio.create_task(self._read(stream))
        watchdog = asyncio.create_task(self._watch_for_silence())
        try:
            await asyncio.wait((reader, watchdog), return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                raise MovedError
            reader.result()
        except grpc.aio.AioRpcError as error:
            if not may_retry(error):
                raise SessionRefusedError(str(error.details())) from error
            raise MovedError(leader_hint(error)) from error
        finally:
            self._commands.stream_ended()
            for task in (writer, reader, watchdog):
                task.cancel()
            stream.cancel()

    async def _write(self, stream: Any) -> None:
        commands, wire = self._commands, self._wire
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader hears of it too
            while True:
                while (numbered := commands.next_to_write()) is not None:
                    request = wire.request(
                        commands.session_id, numbered.sequence, commands.acknowledged, numbered.command
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
                raise MovedError
            self._last_traffic = loop.time()
            self._take(response)
            if self.watch is not None:
                self.watch()

    def _take(self, response: Answered) -> None:
        """One answer: it belongs to the front of the queue, or the conversation has gone wrong."""
        future = self._commands.answered(response.sequence, response.status)
        self._room.release()
        if not future.done():
            future.set_result(self._wire.answer(response))

    async def _watch_for_silence(self) -> None:
        """Return when the node owes answers and is silent: at once if it leads no more, else later."""
        patience = Patience(ATTEMPT_S, self.acknowledged)
        while True:
            await asyncio.sleep(ATTEMPT_S)
            suspicion = patience.look(self.in_flight, self.acknowledged)
            if suspicion is Suspicion.GONE:
                return
            if suspicion is Suspicion.SILENT and not await self._still_leads():
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
        check_status(response.sequence, response.status)
        self._commands.acknowledged = response.sequence
        return response

    def _fail(self, error: MatchEngineError) -> None:
        self._failure = error
        for future in self._commands.give_up():
            if not future.done():
                future.set_exception(error)
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
