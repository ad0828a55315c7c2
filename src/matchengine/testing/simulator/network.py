"""The simulated network: what peers say to each other, as bytes of the real wire format, late, lost or twice.

A call ends with an answer, with a refused connection, or by its deadline, which is looked at with every tick of the
caller, as coarse as the caller's own clock.  Appends of one pair go through one stream: they keep their order
(unless reordering is among the faults) and end together when the stream breaks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from matchengine.node.contracts import Outcome
from matchengine.raft.config import Timing
from matchengine.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    Request,
    RequestPreVote,
    RequestVote,
    Response,
    TimeoutNow,
)
from matchengine.raft.pace import WIDEST
from matchengine.raft.types import Server, SnapshotMeta
from matchengine.storage.contracts import SnapshotSink, StorageError
from matchengine.testing.simulator.moments import Moment
from matchengine.testing.simulator.timeline import MS, SECOND
from matchengine.transport import wire
from matchengine.wire import raft_transport_pb2 as pb

if TYPE_CHECKING:
    from matchengine.testing.simulator.process import Process
    from matchengine.testing.simulator.world import World

#: The number of the class of deadlines that appends have.
_STREAM: Final = 1
CALL_CLASSES: Final = 5
_USUAL_LATENCY: Final = (100, 1_500)
_PIECE: Final = 2 * 1024
_STALL_US: Final = 100 * MS
_GIVE_UP_US: Final = 10 * SECOND
_SILENCE_US: Final = 30 * SECOND
_SNAPSHOT_US: Final = 300 * SECOND
_WATCH_US: Final = 500 * MS
_BROKEN_US: Final = 5 * SECOND

_ENCODERS: Final[dict[type, Callable[[Any, Any], Any]]] = {
    AppendEntries: wire.encode_append_entries,
    RequestVote: wire.encode_request_vote,
    RequestPreVote: wire.encode_request_pre_vote,
    TimeoutNow: wire.encode_timeout_now,
    InstallSnapshot: lambda header, request: wire.encode_install_snapshot(header, request, request.snapshot.size),
}
_DECODERS: Final[dict[type, tuple[Callable[[bytes], Any], Callable[[Any], Request]]]] = {
    AppendEntries: (pb.AppendEntriesRequest.FromString, wire.decode_append_entries),
    RequestVote: (pb.RequestVoteRequest.FromString, wire.decode_request_vote),
    RequestPreVote: (pb.RequestPreVoteRequest.FromString, wire.decode_request_pre_vote),
    TimeoutNow: (pb.TimeoutNowRequest.FromString, wire.decode_timeout_now),
    InstallSnapshot: (pb.InstallSnapshotRequest.FromString, wire.decode_install_snapshot),
}
_RESPONSES: Final[dict[type, Callable[[bytes], Any]]] = {
    AppendEntries: pb.AppendEntriesResponse.FromString,
    RequestVote: pb.RequestVoteResponse.FromString,
    RequestPreVote: pb.RequestPreVoteResponse.FromString,
    TimeoutNow: pb.TimeoutNowResponse.FromString,
    InstallSnapshot: pb.InstallSnapshotResponse.FromString,
}


class Stream:
    """Stands for the appends of one pair where kinds of calls are told apart."""


class Weather:
    """How the network behaves now.  Pairs are (from, to); ``slow`` multiplies a pair's latency."""

    def __init__(self) -> None:
        self.cut: set[tuple[str, str]] = set()
        self.slow: dict[tuple[str, str], int] = {}
        #: Until when nothing of this pair arrives; then all of it does.
        self.held: dict[tuple[str, str], int] = {}
        self.loss = 0.0
        self.duplication = 0.0
        self.reordering = False
        self.latency = _USUAL_LATENCY

    def calm(self) -> None:
        """Everything arrives, once and soon."""
        self.__init__()  # type: ignore[misc]  # all of it is its first state

    def calm_latency(self) -> None:
        """Messages are as fast as ever."""
        self.latency = _USUAL_LATENCY

    def calm_loss(self) -> None:
        """Nothing is lost."""
        self.loss = 0.0

    def calm_duplication(self) -> None:
        """Nothing comes twice."""
        self.duplication = 0.0

    def calm_reordering(self) -> None:
        """Appends keep their order."""
        self.reordering = False

    def heal(self, pairs: set[tuple[str, str]]) -> None:
        """These pairs reach each other again."""
        self.cut -= pairs

    def speed_up(self, pair: tuple[str, str]) -> None:
        """This pair is as fast as others."""
        self.slow.pop(pair, None)


class Call:
    """A request under way, on the caller's side."""

    __slots__ = ("deadline", "number", "outcome", "request", "sender", "settled", "stream", "to")

    def __init__(
        self, sender: Process, to: Server, request: Request, outcome: Outcome, deadline: int, number: int
    ) -> None:
        self.sender = sender
        self.to = to
        self.request = request
        self.outcome = outcome
        self.deadline = deadline
        self.number = number
        self.stream = 0
        self.settled = False

    def answered(self, data: bytes) -> None:
        """The response has arrived."""
        if not self.settled:
            self.settled = True
            try:
                response = wire.decode_response(self.to.id, self.request, _RESPONSES[type(self.request)](data))
            except wire.WireError:
                self.outcome.unanswered()
            else:
                self._note(response)
                self.outcome.answered(response)

    def _note(self, response: Response) -> None:
        """Who took us for the leader of this term, and the newest of our requests that shows it."""
        if isinstance(response, AppendEntriesResponse) and isinstance(self.request, AppendEntries):
            heard, peer = self.sender.heard, self.to.id
            if response.term == self.request.term:
                heard[peer] = max(heard.get(peer, (0, 0)), (response.term, self.number))

    def unanswered(self) -> None:
        """The call has failed."""
        if not self.settled:
            self.settled = True
            self.outcome.unanswered()


class Inbound:
    """See :class:`matchengine.node.contracts.InboundCall`."""

    __slots__ = ("_call", "_network", "_receiver", "_transfer", "sender", "sender_address", "settled")

    def __init__(self, network: Network, call: Call, receiver: Process, names: tuple[str, str]) -> None:
        self._network = network
        self._call = call
        self._receiver = receiver
        self._transfer: Transfer | None = None
        self.sender, self.sender_address = names
        self.settled = False

    def answer(self, response: Response) -> None:
        """See :class:`matchengine.node.contracts.InboundCall`."""
        if not self.settled:
            self.settled = True
            data = wire.encode_response(self._receiver.header, response).SerializeToString()
            self._network.answer(self._call, self._receiver, data, response)

    def fail(self, error: str) -> None:
        """See :class:`matchengine.node.contracts.InboundCall`."""
        if not self.settled:
            self.settled = True
            self._network.fail(self._call, self._receiver, error)

    def receive_snapshot(self, meta: SnapshotMeta, done: Callable[[str], None]) -> None:
        """See :class:`matchengine.node.contracts.InboundCall`."""
        self._transfer = Transfer(self._network.world, self._call, self._receiver, meta, done)
        self._transfer.begin()


class Network:
    """All links.  ``streams`` numbers the append stream of each pair."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.weather = Weather()
        self._chance = world.stream("network")
        self._streams: dict[tuple[str, str], int] = {}
        self._arrivals: dict[tuple[str, str], int] = {}
        self._deadlines = deadlines(world.timing)
        #: How many requests have been sent.
        self.requests = 0

    def reaches(self, source: str, target: str) -> bool:
        """Whether what ``source`` says gets to ``target``."""
        return (source, target) not in self.weather.cut

    def latency(self, source: str, target: str) -> int:
        """How long the next message takes, in microseconds."""
        weather = self.weather
        low, high = weather.latency
        delay = self._chance.skewed(low, high)
        if weather.slow:
            delay *= weather.slow.get((source, target), 1)
        if weather.held:
            delay = max(delay, weather.held.get((source, target), 0) - self.world.timeline.now)
        return delay

    def hold_appends(self, source: str, target: str, until: int) -> None:
        """Appends that leave from now on arrive at ``until`` at the earliest."""
        self._arrivals[source, target] = max(until, self._arrivals.get((source, target), 0))

    def _is_lost(self, source: str, target: str) -> bool:
        weather = self.weather
        if weather.cut and (source, target) in weather.cut:
            return True
        return bool(weather.loss) and self._chance.happens(weather.loss)

    # --- peers -----------------------------------------------------------------------------

    def send(self, sender: Process, to: Server, request: Request, outcome: Outcome) -> None:
        """Call a peer."""
        world, source, target = self.world, sender.id, to.id
        kind = type(request)
        is_stream = kind is AppendEntries and not request.is_heartbeat  # type: ignore[union-attr]
        patience, place = self._deadlines[Stream if is_stream else kind]
        self.requests += 1
        call = Call(sender, to, request, outcome, sender.clock_us + patience, self.requests)
        world.checkers.sent(sender, request)
        sender.calls[place].append(call)
        data = _ENCODERS[kind](sender.header, request).SerializeToString()
        if is_stream:
            call.stream = self._streams.get((source, target), 0)
        if world.trace.on:
            world.note(source, f"-> {target} {brief(request)}")
        if self._is_lost(source, target):
            if kind is InstallSnapshot:
                world.timeline.after(_BROKEN_US, sender.enter, call.unanswered)
            return
        delay = self.latency(source, target)
        if is_stream and not self.weather.reordering:
            delay = self._in_order(source, target, delay)
        world.timeline.after(delay, self._arrive, call, data)
        if self.weather.duplication and self._chance.happens(self.weather.duplication):
            world.count("duplicate")
            later = self.latency(source, target) * self._chance.choice((1, 3, 30))
            world.timeline.after(delay + later, self._arrive, call, data)

    def _in_order(self, source: str, target: str, delay: int) -> int:
        """Behind what went the same way before."""
        now = self.world.timeline.now
        arrival = max(now + delay, self._arrivals.get((source, target), 0))
        self._arrivals[source, target] = arrival
        return arrival - now

    def _arrive(self, call: Call, data: bytes) -> None:
        source, target = call.sender.id, call.to.id
        if call.stream and call.stream != self._streams.get((source, target), 0):
            return  # that stream is broken
        host = self.world.host_at(call.to.address)
        if host is None or host.process is None:
            if host is None or host.refuses:
                self._return(call, target, call.unanswered)
            elif type(call.request) is InstallSnapshot:  # nobody says a word, and the connection breaks
                self.world.timeline.after(_BROKEN_US, call.sender.enter, call.unanswered)
            return
        if type(call.request) is InstallSnapshot:
            self.world.timeline.after(_WATCH_US, self._watch, call, host.process, 0)
        host.process.enter(self._receive, call, data, host.process)

    def _watch(self, call: Call, receiver: Process, silent: int) -> None:
        """The connection of a long call breaks with its other end, or when nothing gets through for some seconds."""
        if call.settled:
            return
        source, target = call.sender.id, receiver.id
        is_open = self.reaches(source, target) and self.reaches(target, source)
        silent = 0 if is_open else silent + _WATCH_US
        if receiver.ended or silent >= _BROKEN_US:
            call.sender.enter(call.unanswered)
        else:
            self.world.timeline.after(_WATCH_US, self._watch, call, receiver, silent)

    def _receive(self, call: Call, data: bytes, receiver: Process) -> None:
        parse, decode = _DECODERS[type(call.request)]
        message = parse(data)
        try:
            inbound = Inbound(self, call, receiver, wire.decode_header(message))
            request = decode(message)
        except wire.WireError as error:
            self.fail(call, receiver, str(error))
            return
        receiver.replica.receive(inbound, request)

    def answer(self, call: Call, receiver: Process, data: bytes, response: Response) -> None:
        """Bring a response back."""
        if self.world.trace.on:
            self.world.note(receiver.id, f"-> {call.sender.id} {response!r}".replace("Response", ""))
        self.world.checkers.answered(receiver, call.sender.id, call.request, response)
        self._return(call, receiver.id, call.answered, data)

    def fail(self, call: Call, receiver: Process, error: str) -> None:
        """Bring a failure back."""
        if self.world.trace.on:
            self.world.note(receiver.id, f"-> {call.sender.id} fails: {error}")
        self._return(call, receiver.id, call.unanswered)

    def _return(self, call: Call, source: str, action: Callable[..., None], *args: object) -> None:
        target = call.sender.id
        if self._is_lost(source, target):
            if type(call.request) is InstallSnapshot and not call.settled:  # sent again below us
                self.world.timeline.after(_WATCH_US, self._return, call, source, action, *args)
        else:
            self.world.timeline.after(self.latency(source, target), call.sender.enter, action, *args)

    def expire(self, sender: Process) -> None:
        """Calls whose time is up have failed."""
        now = sender.clock_us
        for calls in sender.calls:
            while calls and (calls[0].settled or calls[0].deadline <= now):
                calls.popleft().unanswered()

    def break_streams(self, source: str, target: str) -> None:
        """What is under way in the append stream of this pair is lost, on both sides at once."""
        self._streams[source, target] = self._streams.get((source, target), 0) + 1
        host = self.world.hosts.get(source)
        process = host.process if host is not None else None
        if process is None:
            return
        broken = [c for c in process.calls[_STREAM] if c.to.id == target and not c.settled]
        for call in broken:
            self.world.timeline.after(0, process.enter, call.unanswered)


class Transfer:
    """The bytes of one snapshot on their way from a leader's store to a follower's."""

    def __init__(
        self, world: World, call: Call, receiver: Process, meta: SnapshotMeta, done: Callable[[str], None]
    ) -> None:
        self._world = world
        self._call = call
        self._receiver = receiver
        self._meta = meta
        self._done = done
        self._sink: SnapshotSink | None = None
        self._stalled = 0
        self._left: deque[bytes] = deque()

    def begin(self) -> None:
        """Open both ends."""
        sender, request = self._call.sender, self._call.request
        assert isinstance(request, InstallSnapshot)
        if sender.ended:
            self._after(0, self._end, "the call has ended")
            return
        try:
            data = b"".join(sender.storage.snapshots.open(request.snapshot))
        except StorageError as error:
            sender.enter(self._call.unanswered)
            self._after(0, self._end, f"the call has ended: {error}")
            return
        self._world.traps.comes(Moment.SNAPSHOT_COMING, self._receiver.host)
        self._left.extend(data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
        self._after(0, self._open)

    def _after(self, delay: int, action: Callable[..., None], *args: object) -> None:
        self._world.timeline.after(delay, self._receiver.enter, action, *args)

    def _open(self) -> None:
        try:
            self._sink = self._receiver.storage.snapshots.create(self._meta)
        except StorageError as error:
            self._end(str(error))
        else:
            self._next()

    def _next(self) -> None:
        """One more piece, unless the link or the sender is gone."""
        source, target = self._call.sender.id, self._receiver.id
        network = self._world.network
        if self._call.sender.ended or self._world.breaks_snapshot():
            self._end("the stream broke")
        elif not network.reaches(source, target):
            self._stall()
        elif self._left:
            self._after(network.latency(source, target), self._write, self._left.popleft())
        else:
            self._after(network.latency(source, target), self._commit)

    def _stall(self) -> None:
        self._stalled += _STALL_US
        if self._stalled == _GIVE_UP_US:
            self._call.sender.enter(self._call.unanswered)
        if self._stalled >= _SILENCE_US:
            self._end("the sender is silent")
        else:
            self._after(_STALL_US, self._next)

    def _write(self, piece: bytes) -> None:
        assert self._sink is not None
        if self._stalled >= _GIVE_UP_US:
            self._end("the call has ended")
            return
        self._stalled = 0
        try:
            self._sink.write(piece)
        except StorageError as error:
            self._end(str(error))
        else:
            self._next()

    def _commit(self) -> None:
        assert self._sink is not None
        sink, self._sink = self._sink, None
        try:
            sink.commit()
        except StorageError as error:
            self._end(str(error))
        else:
            self._receiver.imagine()  # the log behind it is still the old one
            self._world.traps.comes(Moment.SNAPSHOT_DURABLE, self._receiver.host)
            self._end("")

    def _end(self, error: str) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            self._abort(sink)
        self._done(error)

    def _abort(self, sink: SnapshotSink) -> None:
        try:
            sink.abort()
        except StorageError as error:
            if self._world.trace.on:
                self._world.note(self._receiver.id, f"a broken snapshot stays: {error}")


def deadlines(timing: Timing) -> dict[type, tuple[int, int]]:
    """What each kind of call may take in microseconds, and the number of its class of deadlines."""
    election = timing.election_timeout_ms * MS
    late = max(SECOND, WIDEST * election)
    return {
        RequestVote: (late, 0),
        RequestPreVote: (late, 0),
        Stream: (late, _STREAM),
        InstallSnapshot: (_SNAPSHOT_US, 2),
        AppendEntries: (2 * timing.heartbeat_timeout_ms * MS, 3),
        TimeoutNow: (election, 4),
    }


def brief(request: Request) -> str:
    """A request in a few words."""
    if isinstance(request, AppendEntries):
        if request.is_heartbeat:
            return f"heartbeat t{request.term}"
        span = f"+{len(request.entries)}" if request.entries else ""
        before = f"{request.prev_log_index}/{request.prev_log_term}"
        return f"append t{request.term} {before}{span} commit {request.leader_commit}"
    if isinstance(request, InstallSnapshot):
        return f"snapshot t{request.term} {request.snapshot.index}/{request.snapshot.term}"
    if isinstance(request, RequestVote | RequestPreVote):
        kind = "vote?" if isinstance(request, RequestVote) else "pre-vote?"
        return f"{kind} t{request.term} {request.last_log_index}/{request.last_log_term}"
    return "timeout now"
