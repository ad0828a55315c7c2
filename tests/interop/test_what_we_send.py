"""Every message of ours as bytes on the wire: never one that a node of HashiCorp Raft would die of or be misled by.

The simulated cluster runs random schedules; each request and response that a core emits is encoded as the transport
encodes it, and judged by rules written down here once more.  Each rule is broken on purpose, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from solo import Bench

import chaos
from cluster import Cluster, SimServer
from matchengine.raft import leadership, replication
from matchengine.raft.messages import (
    Answered,
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    Received,
    Request,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
)
from matchengine.raft.progress import Progress
from matchengine.raft.proposals import Command
from matchengine.raft.types import MAX_ENTRY_BYTES, Entry
from matchengine.raft.writes import Writes
from matchengine.transport import wire
from matchengine.wire import raft_transport_pb2 as pb

SEEDS = range(6)
STOCK_LIMIT = 4 * 1024 * 1024


class RuleError(AssertionError):
    """A message that must never leave."""


def rule(holds: object, text: str) -> None:
    if not holds:
        raise RuleError(text)


# --- bytes ----------------------------------------------------------------------------------


def raw(text: str) -> bytes:
    data = text.encode()
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xda" + len(data).to_bytes(2, "big")) + data


def canonical(servers: list[dict[str, Any]]) -> bytes:
    """A configuration of fewer than 16 servers as go-msgpack writes it."""
    rows = (
        b"\x83"
        + raw("Address")
        + raw(s["Address"])
        + raw("ID")
        + raw(s["ID"])
        + raw("Suffrage")
        + bytes([s["Suffrage"]])
        for s in servers
    )
    return b"\x81" + raw("Servers") + bytes([0x90 | len(servers)]) + b"".join(rows)


def check_configuration(data: bytes) -> None:
    servers = msgspec.msgpack.decode(data).get("Servers")
    rule(servers and any(s.get("Suffrage") == 0 for s in servers), "a configuration without a voter")
    rule(all(s.get("ID") and s.get("Address") for s in servers), "a configuration with an empty name")
    rule(canonical(servers) == data, "a configuration in other bytes than go-msgpack's")


def check_header(message: Any, sender: str) -> None:
    rule(message.HasField("rpc_header"), "no rpc_header")
    header = message.rpc_header
    rule(header.protocol_version == 3, "another protocol version")
    rule((header.id, header.addr) == (sender.encode(), f"{sender}:1".encode()), "not the sender's id and address")


ENCODERS = {
    "AppendEntries": ("encode_append_entries", pb.AppendEntriesRequest),
    "RequestVote": ("encode_request_vote", pb.RequestVoteRequest),
    "RequestPreVote": ("encode_request_pre_vote", pb.RequestPreVoteRequest),
    "TimeoutNow": ("encode_timeout_now", pb.TimeoutNowRequest),
}


def on_the_wire(sender: str, request: Request) -> Any:
    """The (first) message of a request, as the peer reads it."""
    header = wire.make_header(sender, f"{sender}:1")
    if isinstance(request, InstallSnapshot):
        rule(wire.encode_snapshot_data(b"x").HasField("rpc_header"), "no rpc_header on data")
        data = wire.encode_install_snapshot(header, request, 1).SerializeToString()
        return pb.InstallSnapshotRequest.FromString(data)
    name, kind = ENCODERS[type(request).__name__]
    data = getattr(wire, name)(header, request).SerializeToString()
    rule(len(data) < STOCK_LIMIT, f"{len(data)} bytes in one message")
    return kind.FromString(data)


def check_append(message: pb.AppendEntriesRequest) -> None:
    prev, entries = message.prev_log_entry, message.entries
    rule(message.leader == message.rpc_header.addr, "a request that names no leader: no heartbeat to the receiver")
    rule(message.leader_commit_index <= prev + len(entries), "a commit index beyond what the request proves")
    rule([e.index for e in entries] == list(range(prev + 1, prev + 1 + len(entries))), "entries not after prev")
    terms = [message.prev_log_term, *(e.term for e in entries), message.term]
    rule(terms == sorted(terms), "terms that go back")
    for entry in entries:
        rule(0 <= entry.type <= 5, "an unknown log type")
        if entry.type == pb.Log.LOG_CONFIGURATION:
            check_configuration(entry.data)


def check_snapshot(message: pb.InstallSnapshotRequest) -> None:
    check_configuration(message.configuration)
    members = msgspec.msgpack.decode(message.configuration)["Servers"]
    voters = [raw(s["Address"]) for s in members if s["Suffrage"] == 0]
    rule(message.peers == bytes([0x90 | len(voters)]) + b"".join(voters), "no peers, of which old nodes die")
    rule(message.snapshot_version == 1 and message.size >= 0, "another version or size")
    rule(message.configuration_index <= message.last_log_index, "a configuration from after the snapshot")
    rule(message.last_log_term <= message.term, "a snapshot from after its leader's term")


# --- the judge ------------------------------------------------------------------------------


class JudgedCluster(Cluster):
    """Looks at everything that is sent and answered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.asked: dict[int, tuple[str, Request, int, int]] = {}
        self.acknowledged: dict[tuple[str, int, int], int] = {}
        self.kinds: dict[str, int] = {}
        super().__init__(*args, **kwargs)

    def send(self, sender: SimServer, to: str, request: Request) -> None:
        self.kinds[type(request).__name__] = self.kinds.get(type(request).__name__, 0) + 1
        message = on_the_wire(sender.id, request)
        check_header(message, sender.id)
        if isinstance(request, AppendEntries):
            check_append(message)
        elif isinstance(request, InstallSnapshot):
            check_snapshot(message)
            had = self.acknowledged.get((sender.id, sender.epoch, request.session), 0)
            rule(request.snapshot.index > had, "a snapshot for a follower that has as much")
        elif isinstance(request, RequestVote):
            disk = sender.disk.hard_state
            durable = disk.term > request.term or (disk.term, disk.voted_for) == (request.term, sender.id)
            rule(durable, "a ballot before the own vote is durable")
        super().send(sender, to, request)

    def heard(self, server: SimServer, event: object) -> None:
        """Before the core hears of it."""
        if isinstance(event, Received):
            core = server.raft._core
            self.asked[event.token] = (event.sender, event.request, core.log.last_index, core.term)
        elif isinstance(event, Answered) and getattr(event.response, "success", False):
            request = event.request
            if request.term == event.response.term and isinstance(request, AppendEntries | InstallSnapshot):
                key = (server.id, server.epoch, request.session)
                self.acknowledged[key] = max(self.acknowledged.get(key, 0), _proven(request))

    def respond(self, server: SimServer, token: int, response: Response | None) -> None:
        sender, request, last, term = self.asked.pop(token)
        if response is not None:
            self.judge_response(server, sender, request, response, last, term)
        super().respond(server, token, response)

    def judge_response(
        self, server: SimServer, sender: str, request: Request, response: Response, last: int, term: int
    ) -> None:
        header = wire.make_header(server.id, f"{server.id}:1")
        encoded = wire.encode_response(header, response)
        message = type(encoded).FromString(encoded.SerializeToString())
        check_header(message, server.id)
        disk = server.disk
        answered = getattr(message, "term", 0)
        if not isinstance(response, RequestPreVoteResponse):
            rule(disk.hard_state.term >= answered, "a term that is not durable")
        if isinstance(response, RequestVoteResponse) and message.granted:
            rule((disk.hard_state.term, disk.hard_state.voted_for) == (answered, sender), "a vote that is not durable")
        if isinstance(response, AppendEntriesResponse):
            rule(message.last_log == last, "another last_log than before the append")
            rule(message.no_retry_backoff == (not message.success and request.term >= term), "a wrong hint to retry")
            if message.success and request.entries:
                held = disk.entries[-1].index if disk.entries else 0
                held = max(held, disk.snapshot.index if disk.snapshot else 0)
                rule(held >= _proven(request), "entries that are not durable")


def _proven(request: AppendEntries | InstallSnapshot) -> int:
    if isinstance(request, InstallSnapshot):
        return request.snapshot.index
    return request.prev_log_index + len(request.entries)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[JudgedCluster]]:
    """Random schedules run on judged clusters, which are kept."""
    clusters: list[JudgedCluster] = []
    step = SimServer.step

    def judged_step(self: SimServer, event: Any) -> None:
        self.cluster.heard(self, event)
        step(self, event)

    def make(*args: Any, **kwargs: Any) -> JudgedCluster:
        clusters.append(JudgedCluster(*args, **kwargs))
        return clusters[-1]

    monkeypatch.setattr(SimServer, "step", judged_step)
    monkeypatch.setattr(chaos, "Cluster", make)
    return clusters


def test_nothing_that_we_send_breaks_a_rule(judged: list[JudgedCluster]) -> None:
    for seed in SEEDS:
        chaos.run_seed(seed)
    kinds = {kind: sum(c.kinds.get(kind, 0) for c in judged) for kind in (*ENCODERS, "InstallSnapshot")}
    assert all(kinds.values()), kinds


# --- the rules, broken one at a time --------------------------------------------------------


def without(name: str, field: str) -> tuple[object, str, Callable[..., Any]]:
    encode = getattr(wire, name)

    def broken(*args: Any) -> Any:
        message = encode(*args)
        message.ClearField(field)
        return message

    return wire, name, broken


def _type_6(header: Any, request: AppendEntries) -> Any:
    message = _encode_append(header, request)
    for entry in message.entries:
        entry.type = 6
    return message


def _response(**fields: Any) -> Callable[..., Any]:
    def broken(header: Any, response: Response) -> Any:
        message = _encode_response(header, response)
        if isinstance(response, AppendEntriesResponse):
            for name, value in fields.items():
                setattr(message, name, value(message))
        return message

    return broken


def _sending(choose: Callable[..., tuple[int, tuple[Entry, ...]]]) -> Callable[..., None]:
    """A ``_send_entries`` with a commit index and entries of another choice."""

    def broken(core: Any, progress: Progress, prev: int, prev_term: int, read_round: int) -> None:
        commit, entries = choose(core.log, prev)
        request = AppendEntries(core.term, prev, prev_term, entries, commit, progress.session, read_round)
        progress.sent(request, core.now)
        core.outbox.send(progress.server, request)

    return broken


def _gapped(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return entries[:1] + entries[2:]


def _snapshot_first(core: Any, progress: Progress, *more: Any) -> None:
    snapshot = core.log.snapshot
    if snapshot is not None and progress.match >= snapshot.index:
        replication._send_snapshot(core, progress, snapshot)
    else:
        _send_entries(core, progress, *more)


_encode_append, _encode_response, _send_entries = (
    wire.encode_append_entries,
    wire.encode_response,
    replication._send_entries,
)
_make_header, _encode_configuration = wire.make_header, leadership.encode_configuration

VIOLATIONS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "no rpc_header in an append": without("encode_append_entries", "rpc_header"),
    "no rpc_header in a ballot": without("encode_request_vote", "rpc_header"),
    "no rpc_header in a pre-vote": without("encode_request_pre_vote", "rpc_header"),
    "no rpc_header in TimeoutNow": without("encode_timeout_now", "rpc_header"),
    "no rpc_header in a snapshot": without("encode_install_snapshot", "rpc_header"),
    "no peers in a snapshot": without("encode_install_snapshot", "peers"),
    "no rpc_header on a snapshot's data": without("encode_snapshot_data", "rpc_header"),
    "no rpc_header in a response": without("encode_response", "rpc_header"),
    "another protocol version": (wire, "PROTOCOL_VERSION", 2),  # type: ignore[dict-item]
    "another address": (wire, "make_header", lambda server_id, address: _make_header(server_id, f"{address}0")),
    "no leader in a heartbeat": without("encode_append_entries", "leader"),
    "an unknown log type": (wire, "encode_append_entries", _type_6),
    "lower-case configuration keys": (
        leadership,
        "encode_configuration",
        lambda configuration: _encode_configuration(configuration).replace(b"Servers", b"servers"),
    ),
    "a configuration in other bytes": (
        wire,
        "encode_configuration",
        lambda configuration: _encode_configuration(configuration).replace(b"\xa8Suffrage", b"\xd9\x08Suffrage"),
    ),
    "a commit index beyond what is proven": (
        replication,
        "_send_entries",
        _sending(lambda log, prev: (log.commit, log.batch(prev + 1, 1, 1))),
    ),
    "entries with a gap": (
        replication,
        "_send_entries",
        _sending(lambda log, prev: (prev, _gapped(log.batch(prev + 1, 64, 2**20)))),
    ),
    "a snapshot for one that has as much": (replication, "_send_entries", _snapshot_first),
    "last_log after the append": (wire, "encode_response", _response(last_log=lambda m: m.last_log + 1)),
    "no hint to retry at once": (wire, "encode_response", _response(no_retry_backoff=lambda _: False)),
    "a hint to retry at once everywhere": (
        wire,
        "encode_response",
        _response(no_retry_backoff=lambda m: not m.success),
    ),
    "a vote before it is durable": (Writes, "number_of_vote", lambda _: 0),
    "a term before it is durable": (Writes, "number_of_term", lambda _: 0),
    "entries before they are durable": (Writes, "number_of_entry", lambda *_: 0),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_broken_rule_is_noticed(name: str, judged: list[JudgedCluster], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*VIOLATIONS[name])
    for seed in range(12):
        try:
            chaos.run_seed(seed, recover=False)
        except RuleError:
            return
        except Exception:  # noqa: BLE001 - the cluster itself may notice first
            continue
    pytest.fail("nobody noticed")


# --- bytes of the largest messages ----------------------------------------------------------


@pytest.mark.parametrize("extensions", [0, 1000, MAX_ENTRY_BYTES])
def test_appends_fit_a_stock_server_however_large_their_entries(extensions: int) -> None:
    bench = Bench(max_append_bytes=64 * MAX_ENTRY_BYTES).lead()
    for _ in range(130):
        bench.propose(Command(bytes(MAX_ENTRY_BYTES - extensions), 2**62, bytes(extensions)))
    bench.accept("n2")
    sent = [*bench.appends("n2"), *bench.appends("n3")]
    sizes = [len(wire.encode_append_entries(LONGEST, r).SerializeToString()) for r in sent]
    assert max(len(r.entries) for r in sent) >= 60
    assert max(sizes) < STOCK_LIMIT


LONGEST = wire.make_header("n" * wire.MAX_NAME_BYTES, "a" * wire.MAX_NAME_BYTES)


def test_what_another_leader_sent_can_be_handed_on() -> None:
    """The largest entry that is taken fits a message of ours to a stock server."""
    entry = Entry(2**62, 2**62, data=bytes(wire.MAX_ENTRY_DATA_BYTES), appended_at=2**62)
    message = wire.encode_append_entries(LONGEST, AppendEntries(2**62, 2**62 - 1, 2**62, (entry,), 2**62))
    assert wire.decode_append_entries(message).entries == (entry,)
    assert message.ByteSize() < STOCK_LIMIT
