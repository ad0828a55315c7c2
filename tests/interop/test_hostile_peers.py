"""What a hostile peer may send to a follower of ours: each gets a clear error, and nothing is harmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import grpc
import pytest
from hostile import BOSS, OTHER, PATIENCE_S, TERM, Victim, header, refusal, until

from matchengine.raft.configuration import encode_configuration
from matchengine.raft.types import Configuration, Role, Server, Suffrage
from matchengine.wire import raft_transport_pb2 as pb

pytestmark = pytest.mark.integration

UNKNOWN = grpc.StatusCode.UNKNOWN
WRONG_VERSION = "operation not supported with current protocol version"


@pytest.fixture(scope="module")
def run() -> Iterator[Callable]:
    """Runs a scenario; all on one event loop, as gRPC likes it."""
    with asyncio.Runner() as runner:
        yield lambda scenario: runner.run(asyncio.wait_for(scenario, 2 * PATIENCE_S))


@pytest.fixture(scope="module")
def victim(tmp_path_factory, run) -> Iterator[Victim]:
    """One follower for all that must not harm it."""

    async def start() -> Victim:
        victim = Victim(tmp_path_factory.mktemp("hostile"))
        return await (await victim.start()).join()

    victim = run(start())
    yield victim
    run(victim.close())


# --- AppendEntries --------------------------------------------------------------------------


def servers(*members: Server) -> bytes:
    return encode_configuration(Configuration(members))


def raw(text: str) -> bytes:
    """A msgpack string of the old family."""
    data = text.encode()
    return bytes([0xA0 | len(data)]) + data


ONE = servers(BOSS)
NESTED = b"\x82" + raw("Deep") + b"\x91" * 500 + b"\xc0" + ONE[1:]
CONFIGURATIONS = {
    "nothing": (b"", "truncated"),
    "no map": (b"\x01", "expected a map"),
    "cut off": (ONE[:-3], "truncated"),
    "trailing bytes": (ONE + b"\0", "1 bytes follow the value"),
    "lower-case servers": (ONE.replace(b"Servers", b"servers"), "'Servers' is missing"),
    "lower-case id": (ONE.replace(b"ID", b"id"), "'ID' is missing"),
    "nobody": (servers(), "need at least one voter"),
    "no voter": (servers(Server("boss", "h:1", Suffrage.NONVOTER)), "need at least one voter"),
    "no id": (servers(Server("", "h:1")), "empty ID"),
    "no address": (servers(Server("boss", "")), "empty address"),
    "one id twice": (servers(BOSS, Server("boss", "h:1")), "duplicate ID in configuration: boss"),
    "one address twice": (servers(BOSS, Server("b", BOSS.address)), "duplicate address"),
    "unknown suffrage": (ONE[:-1] + b"\x03", "suffrage 3 is unknown"),
    "deep nesting": (NESTED, "nested deeper"),
    "array of 2^32 - 1": (b"\x81" + raw("Servers") + b"\xdd" + b"\xff" * 4, "4294967295 servers are more than"),
    "map of 2^32 - 1": (b"\xdf" + b"\xff" * 4, "truncated"),
    "string of 2^32 - 1": (b"\x81\xdb" + b"\xff" * 4, "longer than 65535"),
    "a value of 2^32 - 1 elements under an unknown key": (
        b"\x82" + raw("Else") + b"\xdd" + b"\xff" * 4 + ONE[1:],
        "truncated",
    ),
    "id that no server can read": (
        b"\x81"
        + raw("Servers")
        + b"\x91\x83"
        + raw("Address")
        + raw("h:1")
        + raw("ID")
        + b"\xdb\0\x01\x11\x70"
        + b"x" * 70_000
        + raw("Suffrage")
        + b"\0",
        "longer than",
    ),
    "strings that old nodes cannot read": (ONE.replace(raw("boss"), b"\xc4\x04boss"), "in other bytes"),
    "more than a megabyte": (ONE + bytes(2**20 - 300), "configuration"),
}


def configuration(v: Victim, data: bytes) -> pb.AppendEntriesRequest:
    return v.request([v.entry(data, type=pb.Log.LOG_CONFIGURATION)])


APPENDS: dict[str, tuple[Callable[[Victim], pb.AppendEntriesRequest], str]] = {
    "no header": (lambda v: v.request([v.entry()], rpc_header=None), "rpc_header is missing"),
    "heartbeat without header": (lambda v: pb.AppendEntriesRequest(term=TERM, leader=b"h:1"), "rpc_header is missing"),
    **{
        f"version {n}": (lambda v, n=n: v.request([v.entry()], rpc_header=header(version=n)), WRONG_VERSION)
        for n in (-1, 0, 1, 4)
    },
    "our own id": (
        lambda v: v.request([v.entry()], rpc_header=header(Server("a", "h:1"))),
        "another server calls itself a",
    ),
    "our own address": (
        lambda v: v.request([v.entry()], rpc_header=header(Server("b", v.server.address))),
        "is the address of a",
    ),
    "id of 1025 bytes": (
        lambda v: v.request([v.entry()], rpc_header=header(Server("b" * 1025, "h:1"))),
        "rpc_header.id: 1025 bytes are more than 1024",
    ),
    "id of other bytes": (
        lambda v: v.request([v.entry()], rpc_header=pb.RPCHeader(protocol_version=3, id=b"\xff")),
        "rpc_header.id: not UTF-8",
    ),
    "term 2^63": (lambda v: v.request([v.entry()], term=2**63), "term: 9223372036854775808 is out of range"),
    "term 2^64 - 1": (lambda v: v.request(term=2**64 - 1), "out of range"),
    "prev 2^64 - 1": (lambda v: v.request(prev_log_entry=2**64 - 1), "prev_log_entry"),
    "commit 2^64 - 1": (lambda v: v.request(leader_commit_index=2**64 - 1), "leader_commit_index"),
    **{
        f"type {n}": (lambda v, n=n: v.request([v.entry(type=n)]), f"log type {n} is unknown")
        for n in (-1, 6, 2**31 - 1)
    },
    **{f"type {n}": (lambda v, n=n: v.request([v.entry(type=n)]), f"unknown type {n}") for n in (2, 3)},
    "index 0": (lambda v: v.request([v.entry(index=0)]), "index 0 where"),
    "index 2^64 - 1": (lambda v: v.request([v.entry(index=2**64 - 1)]), "index: 18446744073709551615 is out of range"),
    "a gap": (lambda v: v.request([v.entry(), v.entry(index=v.status.last_index + 3)]), "where"),
    "one index twice": (lambda v: v.request([v.entry(), v.entry()]), "is due"),
    "terms that go back": (
        lambda v: v.request([v.entry(), v.entry(index=v.status.last_index + 2, term=4)]),
        f"has term 4 between {TERM} and {TERM}",
    ),
    "a term after the leader's": (lambda v: v.request([v.entry(term=TERM + 1)]), f"has term {TERM + 1} between"),
    "term 0": (lambda v: v.request([pb.Log(index=1)], prev_log_entry=0, prev_log_term=0), "has term 0"),
    "half a second of 10^9 ns": (lambda v: v.request([v.entry(appended_at={"nanos": 10**9})]), "not within a second"),
    "1025 entries": (lambda v: v.request([v.entry()] * 1025), "1025 are more than 1024"),
    "an entry that no message holds": (lambda v: v.request([v.entry(bytes(4 * 2**20))]), "bytes are more than"),
    "another entry where one is committed": (
        lambda v: v.request([pb.Log(index=1, term=2)], prev_log_entry=0, prev_log_term=0),
        "entry 1 is committed here with another term",
    ),
    **{
        f"configuration: {name}": (lambda v, data=data: configuration(v, data), text)
        for name, (data, text) in CONFIGURATIONS.items()
    },
}


@pytest.mark.parametrize("name", APPENDS)
def test_a_hostile_append_is_refused_and_harms_nothing(victim: Victim, run: Callable, name: str) -> None:
    build, text = APPENDS[name]

    async def scenario() -> None:
        before, request = victim.standing(), build(victim)
        stream = victim.stub.AppendEntriesPipeline()
        await stream.write(request)
        for call in (victim.stub.AppendEntries(request), stream.read()):
            code, details = await refusal(call)
            assert code is UNKNOWN
            assert text in details
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


# --- InstallSnapshot ------------------------------------------------------------------------


def offer(v: Victim, **fields: object) -> pb.InstallSnapshotRequest:
    """The first message of a snapshot that is ahead of all that the node has committed."""
    given = {
        "rpc_header": header(),
        "snapshot_version": 1,
        "term": v.status.term,
        "leader": BOSS.address.encode(),
        "last_log_index": v.status.last_index + 10,
        "last_log_term": v.status.term,
        "configuration": encode_configuration(v.members),
        "configuration_index": 1,
        "size": 4,
    }
    return pb.InstallSnapshotRequest(**given | fields)


def chunk(data: bytes) -> pb.InstallSnapshotRequest:
    return pb.InstallSnapshotRequest(rpc_header={}, data=data)


SNAPSHOTS: dict[str, tuple[Callable[[Victim], list[pb.InstallSnapshotRequest]], str]] = {
    "nothing at all": (lambda v: [], "EOF"),
    "data only": (lambda v: [pb.InstallSnapshotRequest(data=b"data")], "rpc_header is missing"),
    "no header": (lambda v: [offer(v, rpc_header=None), chunk(b"data")], "rpc_header is missing"),
    **{
        f"protocol version {n}": (
            lambda v, n=n: [offer(v, rpc_header=header(version=n)), chunk(b"data")],
            WRONG_VERSION,
        )
        for n in (0, 1, 4)
    },
    **{
        f"snapshot version {n}": (
            lambda v, n=n: [offer(v, snapshot_version=n), chunk(b"data")],
            f"unsupported snapshot version {n}",
        )
        for n in (2, -1)
    },
    "our own id": (
        lambda v: [offer(v, rpc_header=header(Server("a", "h:1"))), chunk(b"data")],
        "another server calls itself a",
    ),
    "too few bytes": (lambda v: [offer(v), chunk(b"dat")], "short read"),
    "too many bytes": (lambda v: [offer(v), chunk(b"data"), chunk(b"!")], "more bytes come than the 4 that"),
    "too many bytes at once": (lambda v: [offer(v, data=b"data!")], "more bytes come than the 4 that"),
    "size 2^63 - 1": (lambda v: [offer(v, size=2**63 - 1), chunk(b"data")], "short read"),
    "size -1": (lambda v: [offer(v, size=-1), chunk(b"data")], "size: -1 is negative"),
    "metadata twice": (lambda v: [offer(v, data=b"da"), offer(v, data=b"ta!")], "more bytes come than the 4 that"),
    "term 2^63": (lambda v: [offer(v, term=2**63), chunk(b"data")], "term: 9223372036854775808 is out of range"),
    "index 2^64 - 1": (lambda v: [offer(v, last_log_index=2**64 - 1), chunk(b"data")], "last_log_index"),
    "term of its own beyond the leader's": (
        lambda v: [offer(v, last_log_term=v.status.term + 1), chunk(b"data")],
        "is not from 1 to the leader's",
    ),
    "no term of its own": (lambda v: [offer(v, last_log_term=0), chunk(b"data")], "is not from 1 to the leader's"),
    "a configuration from after it": (
        lambda v: [offer(v, configuration_index=v.status.last_index + 11), chunk(b"data")],
        "its configuration is of a later index",
    ),
    **{
        f"configuration: {name}": (
            lambda v, data=data: [offer(v, configuration=data), chunk(b"data")],
            text,
        )
        for name, (data, text) in CONFIGURATIONS.items()
        if name != "strings that old nodes cannot read"  # it is written anew when it is handed on
    },
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_hostile_snapshot_is_refused_and_harms_nothing(victim: Victim, run: Callable, name: str) -> None:
    build, text = SNAPSHOTS[name]

    async def scenario() -> None:
        before = victim.standing()
        code, details = await refusal(victim.stub.InstallSnapshot(iter(build(victim))))
        assert code is UNKNOWN
        assert text in details
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


def test_older_snapshots_change_nothing(victim: Victim, run: Callable) -> None:
    """Success without a restore: our log agrees with the leader there, and the state machine never goes back."""

    async def scenario() -> None:
        before = victim.standing()
        for index in (1, victim.status.commit_index):
            term = 1 if index == 1 else TERM
            messages = [offer(victim, last_log_index=index, last_log_term=term), chunk(b"data")]
            assert (await victim.stub.InstallSnapshot(iter(messages))).success
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


# --- votes, and who may say TimeoutNow ------------------------------------------------------


def ballot(v: Victim, kind: type, **fields: object):
    raft = v.status
    given = {"rpc_header": header(OTHER), "term": raft.term + 1, "last_log_index": 2**40, "last_log_term": raft.term}
    return kind(**given | fields)


STRANGER = Server("nobody", "127.0.0.1:3")
BALLOTS: dict[str, tuple[dict[str, object], str]] = {
    "no header": ({"rpc_header": None}, "rpc_header is missing"),
    "version 1": ({"rpc_header": header(version=1)}, WRONG_VERSION),
    "version 4": ({"rpc_header": header(version=4)}, WRONG_VERSION),
    "our own id": ({"rpc_header": header(Server("a", "h:1"))}, "another server calls itself a"),
    "term 2^63": ({"term": 2**63}, "term: 9223372036854775808 is out of range"),
    "last index 2^64 - 1": ({"last_log_index": 2**64 - 1}, "last_log_index: 18446744073709551615 is out of range"),
    "last term 2^63": ({"last_log_term": 2**63}, "last_log_term"),
}


@pytest.mark.parametrize("kind", [pb.RequestVoteRequest, pb.RequestPreVoteRequest])
@pytest.mark.parametrize("name", BALLOTS)
def test_a_hostile_ballot_is_refused_and_harms_nothing(victim: Victim, run: Callable, name: str, kind: type) -> None:
    fields, text = BALLOTS[name]

    async def scenario() -> None:
        before = victim.standing()
        method = victim.stub.RequestVote if kind is pb.RequestVoteRequest else victim.stub.RequestPreVote
        code, details = await refusal(method(ballot(victim, kind, **fields)))
        assert code is UNKNOWN
        assert text in details
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


@pytest.mark.parametrize("sender", [STRANGER, Server("", "127.0.0.1:3"), Server("", ""), OTHER])
def test_nobody_unseats_a_leader_that_is_heard(victim: Victim, run: Callable, sender: Server) -> None:
    """Neither a stranger, nor one without a name, nor a member: no vote, and no higher term."""

    async def scenario() -> None:
        before = victim.standing()
        announced = header(sender)
        vote = await victim.stub.RequestVote(ballot(victim, pb.RequestVoteRequest, rpc_header=announced, term=2**62))
        welcome = await victim.stub.RequestPreVote(ballot(victim, pb.RequestPreVoteRequest, rpc_header=announced))
        assert (vote.granted, welcome.granted) == (False, False)
        assert vote.term == TERM
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


@pytest.mark.parametrize(
    ("announced", "text"),
    [
        (None, "rpc_header is missing"),
        (header(version=4), WRONG_VERSION),
        (header(STRANGER), f"'nobody' does not lead term {TERM}, so it cannot hand leadership over"),
        (header(OTHER), f"'{OTHER.id}' does not lead term {TERM}"),
        (header(Server("", "")), f"'' does not lead term {TERM}"),
        (header(Server("a", "h:1")), "another server calls itself a"),
    ],
)
def test_only_the_leader_may_say_timeout_now(victim: Victim, run: Callable, announced: pb.RPCHeader, text: str) -> None:
    async def scenario() -> None:
        before = victim.standing()
        calls = [refusal(victim.stub.TimeoutNow(pb.TimeoutNowRequest(rpc_header=announced))) for _ in range(50)]
        for code, details in await asyncio.gather(*calls):
            assert code is UNKNOWN
            assert text in details
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


# --- bytes, streams, quantities -------------------------------------------------------------

METHODS = ("AppendEntries", "RequestVote", "RequestPreVote", "TimeoutNow", "InstallSnapshot", "AppendEntriesPipeline")


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_refused(victim: Victim, run: Callable, method: str) -> None:
    async def scenario() -> None:
        before = victim.standing()
        open_call = victim.channel.stream_stream(f"/RaftTransport/{method}")
        for garbage in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a"):
            call = open_call()
            await call.write(garbage)
            await call.done_writing()
            code, details = await refusal(call.read())
            assert code in (UNKNOWN, grpc.StatusCode.INTERNAL)
            assert details
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


def test_a_snapshot_that_turns_into_garbage_is_refused(victim: Victim, run: Callable) -> None:
    async def scenario() -> None:
        before = victim.standing()
        call = victim.channel.stream_stream("/RaftTransport/InstallSnapshot")()
        for data in (offer(victim).SerializeToString(), b"\xff" * 100):
            await call.write(data)
        await call.done_writing()
        assert await refusal(call.read()) == (UNKNOWN, "the request is malformed")
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


def test_large_appends_are_taken_up_to_a_bound(victim: Victim, run: Callable) -> None:
    """Go leaders batch by count: 64 entries of 80 KiB are 5 MiB.  Beyond 64 MiB nobody may go."""

    async def scenario() -> None:
        last = victim.status.last_index
        entries = [pb.Log(index=last + n, term=TERM, data=bytes(80 * 1024)) for n in range(1, 65)]
        await victim.append(entries)
        await victim.append([victim.entry(bytes(4 * 2**20 - 8 * 1024))])
        before = victim.standing()
        too_much = victim.request([victim.entry(bytes(2**20))] * 65)
        code, details = await refusal(victim.stub.AppendEntries(too_much))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in details
        assert before[:-1] == victim.standing()[:-1]
        await victim.lead()

    run(scenario())


def test_broken_pipelines_leave_nothing_behind(victim: Victim, run: Callable) -> None:
    """Half-closed ones get their answers and an end; aborted ones are forgotten, in the middle of a request or not."""

    async def scenario() -> None:
        half = victim.stub.AppendEntriesPipeline()
        for _ in range(10):
            await half.write(victim.request())
        await half.done_writing()
        assert [answer.success async for answer in half] == [True] * 10
        assert await half.code() is grpc.StatusCode.OK
        empty = victim.stub.AppendEntriesPipeline()
        await empty.done_writing()
        assert [answer async for answer in empty] == []
        for count in range(20):
            aborted = victim.stub.AppendEntriesPipeline()
            for _ in range(count):
                await aborted.write(victim.request())
            aborted.cancel()
        await victim.lead()

    run(scenario())


def test_a_connection_that_is_cut_in_the_middle_of_a_request_harms_nothing(victim: Victim, run: Callable) -> None:
    """HTTP/2 by hand: a request whose frame announces more bytes than ever come."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def field(name: bytes, value: bytes) -> bytes:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/RaftTransport/AppendEntries"),
        (b":authority", b"victim"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )

    async def scenario() -> None:
        before = victim.standing()
        for begun in (b"", b"\0\0\0\x40\0" + b"\x0a" * 100):
            host, port = victim.server.address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
            writer.write(frame(1, 4, 1, b"".join(field(*pair) for pair in fields)))
            writer.write(frame(0, 0, 1, begun))
            await writer.drain()
            await reader.read(1)
            writer.transport.abort()
        assert victim.standing() == before
        await victim.lead()

    run(scenario())


def test_a_thousand_calls_at_once_are_all_answered(victim: Victim, run: Callable) -> None:
    """Good ones and bad ones of every kind; the leader's own go through all the same."""

    async def scenario() -> None:
        stub, stranger = victim.stub, header(STRANGER)
        kinds = (
            lambda: stub.AppendEntries(pb.AppendEntriesRequest(rpc_header=header(), term=TERM, leader=b"h:1")),
            lambda: stub.AppendEntries(victim.request(rpc_header=None)),
            lambda: stub.RequestVote(ballot(victim, pb.RequestVoteRequest, rpc_header=stranger)),
            lambda: stub.RequestPreVote(ballot(victim, pb.RequestPreVoteRequest)),
            lambda: stub.TimeoutNow(pb.TimeoutNowRequest(rpc_header=stranger)),
        )
        calls = [asyncio.ensure_future(_outcome(kinds[n % len(kinds)]())) for n in range(1000)]
        await victim.lead()
        outcomes = await asyncio.gather(*calls)
        assert {type(o).__name__ if not isinstance(o, str) else o for o in outcomes} == {
            "AppendEntriesResponse",
            "rpc_header is missing",
            "RequestVoteResponse",
            "RequestPreVoteResponse",
            f"'nobody' does not lead term {TERM}, so it cannot hand leadership over",
        }
        assert (victim.status.term, victim.status.role) == (TERM, Role.FOLLOWER)

    async def _outcome(call):
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            return error.details()

    run(scenario())


def test_the_victim_is_as_good_as_new(victim: Victim, run: Callable) -> None:
    """After all that: it has what the leader said and nothing else, and so it has after a restart."""

    async def scenario() -> None:
        commands = list(victim.machine.commands)
        assert all(c.startswith(b"command") for c in commands if len(c) < 1000)
        await victim.node.stop()
        again = Victim(victim.node.config.data_dir.parent)
        async with again:
            assert again.status.configuration == victim.members
            await again.append([again.entry(b"the end")], prev=again.status.last_index)
            await until(lambda: again.machine.commands == [*commands, b"the end"], "all is there again")

    run(scenario())
