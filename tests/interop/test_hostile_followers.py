"""A leader and a candidate of ours among followers that are silent, confused or lying: the others are served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import grpc
import pytest
from hostile import PATIENCE_S, TERM, ScriptedPeer, Victim, header, until

from matchengine.errors import UnknownOutcomeError
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.raft.types import Configuration, Role, Server
from matchengine.wire import raft_transport_pb2 as pb

pytestmark = pytest.mark.integration


class Scene:
    """Our node, a good peer and a bad one."""

    def __init__(self, victim: Victim, good: ScriptedPeer, bad: ScriptedPeer) -> None:
        self.victim, self.good, self.bad = victim, good, bad

    async def stand(self) -> None:
        """The good peer, as the leader, has our node stand for election."""
        good, term = self.good.header, self.victim.status.term
        await self.victim.stub.AppendEntries(pb.AppendEntriesRequest(rpc_header=good, term=term, leader=good.addr))
        await self.victim.stub.TimeoutNow(pb.TimeoutNowRequest(rpc_header=good))

    async def rule(self) -> None:
        """Our node leads."""
        await self.stand()
        await until(lambda: self.victim.node.is_leader, "it leads")

    async def serve(self, count: int = 5) -> None:
        """Commands by us as the leader, which the good peer helps to commit."""
        for number in range(count):
            await self.victim.node.propose(b"command %d" % number)

    def peer(self, server_id: str = "bad"):
        """What our leader believes of a peer."""
        return next(p for p in self.victim.status.peers if p.id == server_id)


@pytest.fixture
def run(tmp_path) -> Iterator[Callable]:
    """Runs a scenario in a scene of its own, in which our node is a follower and hears nothing."""

    async def in_scene(scenario: Callable) -> None:
        async with (
            asyncio.timeout(2 * PATIENCE_S),
            ScriptedPeer("good") as good,
            ScriptedPeer("bad") as bad,
            Victim(tmp_path) as victim,
        ):
            victim.members = Configuration((victim.server, good.server, bad.server))
            await victim.join()
            good.terms = {0: 0, 1: 1, 2: TERM}
            bad.terms = {0: 0, 1: 1, 2: TERM}
            await scenario(Scene(victim, good, bad))
            bad.release()

    with asyncio.Runner() as runner:
        yield lambda scenario: runner.run(in_scene(scenario))


# --- our leader -----------------------------------------------------------------------------


def answering(peer: ScriptedPeer, **fields: object) -> Callable:
    """Always the same answer to AppendEntries but in its header, with what a good one would say otherwise."""

    async def script(request, context):
        answer = peer.appended(request)
        given = {"term": answer.term, "success": answer.success, "last_log": answer.last_log} | fields
        return pb.AppendEntriesResponse(**{"rpc_header": answer.rpc_header} | given)

    return script


def failing(code: grpc.StatusCode, text: str) -> Callable:
    async def script(request, context):
        await context.abort(code, text)

    return script


async def closing(context) -> None:
    """A pipeline that ends as soon as it is used."""
    await context.read()


def stuttering(peer: ScriptedPeer) -> Callable:
    """A pipeline that answers everything twice."""

    async def script(context):
        while (request := await context.read()) is not grpc.aio.EOF:
            for _ in range(2):
                await context.write(peer.appended(request))

    return script


#: How a peer may answer to AppendEntries, and whether what it says can be believed in the end.
ANSWERS: dict[str, tuple[Callable[[ScriptedPeer], dict[str, Callable]], bool]] = {
    "never": (lambda bad: {"AppendEntries": bad.hold}, False),
    "UNKNOWN": (lambda bad: {"AppendEntries": failing(grpc.StatusCode.UNKNOWN, "no")}, False),
    "UNIMPLEMENTED": (lambda bad: {"AppendEntries": failing(grpc.StatusCode.UNIMPLEMENTED, "no")}, False),
    "without a header": (lambda bad: {"AppendEntries": answering(bad, rpc_header=None)}, True),
    "last_log 2^62": (lambda bad: {"AppendEntries": answering(bad, last_log=2**62)}, True),
    "last_log 2^64 - 1": (lambda bad: {"AppendEntries": answering(bad, last_log=2**64 - 1)}, False),
    "an older term": (lambda bad: {"AppendEntries": answering(bad, term=1, success=True)}, False),
    "term 2^63": (lambda bad: {"AppendEntries": answering(bad, term=2**63)}, False),
    "no, try again at once": (
        lambda bad: {"AppendEntries": answering(bad, success=False, no_retry_backoff=True, last_log=0)},
        False,
    ),
    "no, I have far more": (
        lambda bad: {
            "AppendEntries": answering(bad, success=False, no_retry_backoff=True, last_log=2**40),
            "InstallSnapshot": failing(grpc.StatusCode.UNKNOWN, "no"),  # what is left to try
        },
        False,
    ),
    "no": (lambda bad: {"AppendEntries": answering(bad, success=False)}, False),
    "a pipeline that closes": (lambda bad: {"AppendEntriesPipeline": closing}, True),
    "a pipeline that answers twice": (lambda bad: {"AppendEntriesPipeline": stuttering(bad)}, True),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_leader_serves_on_whatever_one_follower_answers(run: Callable, name: str) -> None:
    script, is_believed = ANSWERS[name]

    async def scenario(scene: Scene) -> None:
        scene.bad.script = script(scene.bad)
        await scene.rule()
        term = scene.victim.status.term
        loop = asyncio.get_running_loop()
        start = loop.time()
        await scene.serve()
        await asyncio.sleep(0.2)
        appends = [
            r for r in scene.bad.seen if isinstance(r, pb.AppendEntriesRequest) and r.prev_log_entry + len(r.entries)
        ]
        ticks = (loop.time() - start) / 0.01
        assert len(appends) <= 20 + ticks, "it is not asked faster than time passes"
        raft = scene.victim.status
        assert (raft.role, raft.term) == (Role.LEADER, term)
        assert raft.commit_index == raft.last_index
        if is_believed:
            await until(lambda: scene.peer().match == scene.victim.status.last_index, "it follows")
        else:
            assert scene.peer().match == 0
        scene.bad.script = {}
        scene.bad.release()
        if name != "never":  # the deadline of this test's timing is an hour
            await scene.serve(1)
            await until(lambda: scene.peer().match == scene.victim.status.last_index, "it has come to reason")

    run(scenario)


def test_every_call_has_a_deadline(run: Callable) -> None:
    """A pipeline is watched by its sender instead; see the tests of the transport."""

    async def scenario(scene: Scene) -> None:
        async def obey(request, context):
            later = pb.AppendEntriesRequest(rpc_header=header(), term=TERM + 2, leader=b"h:1")
            await scene.victim.stub.AppendEntries(later)
            return pb.TimeoutNowResponse(rpc_header=scene.good.header)

        scene.good.script = {"TimeoutNow": obey}
        await scene.rule()
        await scene.serve()
        await scene.victim.node.read_index()
        await scene.victim.node.transfer_leadership("good")
        assert {m for m, left in scene.good.patience.items() if left is not None} == {
            "AppendEntries",
            "RequestVote",
            "TimeoutNow",
        }

    run(scenario)


def test_a_silent_follower_gathers_few_calls(run: Callable) -> None:
    async def scenario(scene: Scene) -> None:
        scene.bad.script = dict.fromkeys(("AppendEntries", "AppendEntriesPipeline", "RequestVote"), scene.bad.hold)
        await scene.rule()
        for _ in range(3):
            await scene.serve(20)
            await scene.victim.node.read_index()
        assert len(scene.bad.seen) <= 8 + 1 + 1, "heartbeats, one append, one vote"

    run(scenario)


def test_a_follower_that_writes_garbage_is_as_good_as_silent(run: Callable) -> None:
    async def garble(request, context):
        return b"\xff" * 50

    async def garble_stream(requests, context):
        async for _ in requests:
            yield b"\xff" * 50

    async def scenario(scene: Scene) -> None:
        garbled = grpc.aio.server()
        kinds = {
            **dict.fromkeys(
                ("AppendEntries", "RequestVote", "RequestPreVote"), grpc.unary_unary_rpc_method_handler(garble)
            ),
            "AppendEntriesPipeline": grpc.stream_stream_rpc_method_handler(garble_stream),
            "InstallSnapshot": grpc.stream_unary_rpc_method_handler(garble),
        }
        garbled.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("RaftTransport", kinds),))
        address = f"127.0.0.1:{garbled.add_insecure_port('127.0.0.1:0')}"
        await garbled.start()
        await scene.rule()
        change = ChangeMembership(ChangeKind.ADD_VOTER, "garbled", address)
        await scene.victim.node.change_membership(change)
        await scene.serve()
        assert scene.victim.node.is_leader
        assert scene.peer("garbled").match == 0
        await garbled.stop(0)

    run(scenario)


def test_a_later_term_in_an_answer_ends_the_leadership_and_nothing_else(run: Callable) -> None:
    async def scenario(scene: Scene) -> None:
        scene.good.script = {"AppendEntries": scene.good.hold}
        await scene.rule()
        proposed = scene.victim.node.propose(b"open")
        later = scene.victim.status.term + 10
        scene.bad.script = {"AppendEntries": answering(scene.bad, term=later, success=False)}
        with pytest.raises(UnknownOutcomeError):
            await proposed
        assert (scene.victim.status.role, scene.victim.status.term) == (Role.FOLLOWER, later)
        scene.bad.script = scene.good.script = {}
        scene.good.release()
        await scene.rule()
        await scene.serve(1)

    run(scenario)


def test_answers_from_before_a_removal_say_nothing_of_the_member_that_came_back(run: Callable) -> None:
    async def scenario(scene: Scene) -> None:
        held: list[tuple[object, object]] = []

        async def keep(context):
            while (request := await context.read()) is not grpc.aio.EOF:
                held.append((request, context))

        node = scene.victim.node
        scene.bad.script = {"AppendEntriesPipeline": keep}
        await scene.rule()
        await scene.serve(3)
        await until(lambda: held, "the pipeline has begun")
        await node.change_membership(ChangeMembership(ChangeKind.REMOVE_SERVER, "bad"))
        of_old = held.copy()
        await node.change_membership(ChangeMembership(ChangeKind.ADD_VOTER, "bad", scene.bad.server.address))
        await until(lambda: len(held) > len(of_old), "the member that came back is asked")
        for request, context in of_old:
            answer = {"rpc_header": scene.bad.header, "term": request.term, "success": True}
            await context.write(pb.AppendEntriesResponse(**answer))
        await scene.serve(3)
        assert scene.peer().match == 0
        assert node.is_leader

    run(scenario)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "no such host:5", "dns:///:", "unix:/nowhere", "", "\0", "abc://x", "host:99999999"]
)
def test_a_member_that_nobody_can_reach_harms_nobody(run: Callable, address: str) -> None:
    """Its address comes from outside and may be anything; an empty one is refused."""

    async def scenario(scene: Scene) -> None:
        await scene.rule()
        change = ChangeMembership(ChangeKind.ADD_NONVOTER, "nowhere", address)
        if address:
            await scene.victim.node.change_membership(change)
            assert scene.peer("nowhere").match == 0
        else:
            with pytest.raises(Exception, match="empty address in configuration"):
                await scene.victim.node.change_membership(change)
        await scene.serve()
        await asyncio.sleep(0.15)
        await scene.serve()
        assert scene.victim.node.is_leader

    run(scenario)


# --- our candidate --------------------------------------------------------------------------


def voting(**fields: object) -> Callable:
    async def script(request, context):
        return pb.RequestVoteResponse(**{"rpc_header": header(Server("bad", "h:1")), "term": request.term} | fields)

    return script


VOTES: dict[str, Callable[[ScriptedPeer], Callable]] = {
    "never": lambda bad: bad.hold,
    "no": lambda bad: voting(granted=False),
    "an error": lambda bad: failing(grpc.StatusCode.UNKNOWN, "unexpected command"),
    "UNIMPLEMENTED": lambda bad: failing(grpc.StatusCode.UNIMPLEMENTED, "no"),
    "yes in an older term": lambda bad: voting(granted=True, term=1),
    "yes in term 2^63": lambda bad: voting(granted=True, term=2**63),
}


@pytest.mark.parametrize("name", VOTES)
def test_a_candidate_counts_no_vote_that_is_none(run: Callable, name: str) -> None:
    async def scenario(scene: Scene) -> None:
        scene.good.script = {"RequestVote": scene.good.hold}
        scene.bad.script = {"RequestVote": VOTES[name](scene.bad)}
        await scene.stand()
        await until(lambda: scene.good.seen and scene.bad.seen, "both were asked")
        await asyncio.sleep(0.05)
        assert (scene.victim.status.role, scene.victim.status.term) == (Role.CANDIDATE, TERM + 1)
        scene.good.release()
        await until(lambda: scene.victim.node.is_leader, "the good one's vote is enough")
        await scene.serve(1)

    run(scenario)


def test_a_candidate_gives_way_to_a_later_term(run: Callable) -> None:
    async def scenario(scene: Scene) -> None:
        scene.good.script = {"RequestVote": scene.good.hold}
        scene.bad.script = {"RequestVote": voting(granted=True, term=TERM + 9)}
        await scene.stand()
        await until(lambda: scene.victim.status.term == TERM + 9, "it has heard of the term")
        assert scene.victim.status.role is Role.FOLLOWER
        scene.good.script = scene.bad.script = {}
        scene.good.release()
        await scene.rule()
        await scene.serve(1)

    run(scenario)
