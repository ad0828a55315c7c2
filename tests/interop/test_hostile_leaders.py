"""A follower of ours under leaders that are stale, broken or malicious: what was promised holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from hostile import OTHER, PATIENCE_S, TERM, Victim, header, refusal, until

from matchengine.raft.configuration import encode_configuration
from matchengine.raft.types import Role
from matchengine.storage.storage import Storage
from matchengine.transport import inbound
from matchengine.wire import raft_transport_pb2 as pb

pytestmark = pytest.mark.integration


@pytest.fixture
def run(tmp_path) -> Iterator[Callable]:
    """Runs a scenario with a follower of its own, which has heard of its cluster."""

    async def with_victim(scenario: Callable) -> None:
        async with asyncio.timeout(2 * PATIENCE_S), Victim(tmp_path) as victim:
            await victim.join()
            await scenario(victim)

    with asyncio.Runner() as runner:
        yield lambda scenario: runner.run(with_victim(scenario))


def by_other(**fields: object) -> dict[str, object]:
    """What the leader of a later term would put into a request."""
    return {"rpc_header": header(OTHER), "term": TERM + 1, "leader": OTHER.address.encode()} | fields


def offer(v: Victim, index: int, own_term: int, data: bytes, **fields: object) -> list[pb.InstallSnapshotRequest]:
    first = {
        "rpc_header": header(),
        "snapshot_version": 1,
        "term": TERM,
        "last_log_index": index,
        "last_log_term": own_term,
        "configuration": encode_configuration(v.members),
        "configuration_index": 1,
        "size": len(data),
    }
    return [pb.InstallSnapshotRequest(**first | fields), pb.InstallSnapshotRequest(rpc_header={}, data=data)]


def test_a_stale_suffix_is_not_applied_by_a_commit_index_beyond_what_was_proven(run: Callable) -> None:
    async def scenario(v: Victim) -> None:
        proven = v.status.last_index
        await v.append([v.entry(b"stale")], leader_commit_index=proven)
        probe = v.request(prev=proven, prev_log_term=TERM, **by_other(leader_commit_index=proven + 1))
        assert (await v.stub.AppendEntries(probe)).success
        assert (v.status.commit_index, v.status.last_index) == (proven, proven + 1)
        good = v.entry(b"good", index=proven + 1, term=TERM + 1)
        await v.append([good], prev=proven, prev_log_term=TERM, **by_other())
        await until(lambda: v.machine.commands[-1:] == [b"good"], "the good one is applied")
        assert b"stale" not in v.machine.commands

    run(scenario)


@pytest.mark.parametrize("end", ["in the suffix", "behind it"])
def test_a_suffix_that_conflicts_with_a_snapshot_is_dropped(run: Callable, tmp_path, end: str) -> None:
    async def scenario(v: Victim) -> None:
        last = v.status.last_index
        suffix = [v.entry(b"stale", index=last + n) for n in range(1, 6)]
        await v.append(suffix, leader_commit_index=last)
        index = last + (3 if end == "in the suffix" else 9)
        answer = await v.stub.InstallSnapshot(iter(offer(v, index, TERM + 1, b"a\nb", **by_other())))
        assert (answer.success, answer.term) == (True, TERM + 1)
        assert v.machine.commands == [b"a", b"b"]
        raft = v.status
        assert (raft.last_index, raft.last_term, raft.commit_index) == (index, TERM + 1, index)
        await v.append([v.entry(b"c", index=index + 1, term=TERM + 1)], prev=index, **by_other())
        await until(lambda: v.machine.commands == [b"a", b"b", b"c"], "it goes on behind the snapshot")
        await v.node.stop()
        async with Victim(tmp_path) as again:
            assert (again.status.last_index, again.status.snapshot_index) == (index + 1, index)

    run(scenario)


def test_an_older_snapshot_of_a_later_leader_takes_nothing_back(run: Callable) -> None:
    async def scenario(v: Victim) -> None:
        for _ in range(3):
            await v.lead()
        before = v.machine.commands.copy(), v.status.last_index, v.status.commit_index
        for index, term, agrees in ((2, TERM, True), (3, TERM + 1, False)):
            answer = await v.stub.InstallSnapshot(iter(offer(v, index, term, b"old", **by_other())))
            assert answer.success is agrees
        assert (v.machine.commands, v.status.last_index, v.status.commit_index) == before

    run(scenario)


@pytest.mark.parametrize("sent", [1, 2], ids=["half-way", "before the half-close"])
def test_a_snapshot_that_never_ends_blocks_neither_heartbeats_nor_a_later_leader(run: Callable, sent: int) -> None:
    async def scenario(v: Victim) -> None:
        index = v.status.last_index + 10
        stalled = v.stub.InstallSnapshot()
        for message in offer(v, index, TERM, b"data")[:sent]:
            await stalled.write(message)

        await until(lambda: v.node._engine._replica._raft._installer._running, "the node has heard of it")
        second = v.stub.InstallSnapshot(iter(offer(v, index, TERM, b"data")))
        assert (await refusal(second))[1] == "another snapshot is being installed"
        await v.lead()
        answer = await v.stub.InstallSnapshot(iter(offer(v, index, TERM + 1, b"newer", **by_other())))
        assert answer.success
        assert v.machine.commands == [b"newer"]
        assert (await refusal(stalled))[1] == "the leader of a later term sends a snapshot"
        await v.append([v.entry(b"on", term=TERM + 1)], **by_other())

    run(scenario)


def test_a_snapshot_that_stops_half_way_is_given_up(run: Callable, monkeypatch) -> None:
    monkeypatch.setattr(inbound, "_SILENCE_S", 0.05)

    async def scenario(v: Victim) -> None:
        index = v.status.last_index + 10
        stalled = v.stub.InstallSnapshot()
        await stalled.write(offer(v, index, TERM, b"data")[0])
        assert (await refusal(stalled))[1] == "no data came for 0.05 s"
        aborted = v.stub.InstallSnapshot()
        await aborted.write(offer(v, index, TERM, b"data")[0])
        aborted.cancel()
        await v.lead()
        assert (await v.stub.InstallSnapshot(iter(offer(v, index + 10, TERM, b"whole")))).success
        assert v.machine.commands == [b"whole"]

    run(scenario)


def test_heartbeats_are_answered_while_a_disk_write_hangs(run: Callable, monkeypatch) -> None:
    """A Go leader steps down when a quorum is silent for half a second; what claims nothing new waits for no disk."""

    async def scenario(v: Victim) -> None:
        reached, gate = threading.Event(), threading.Event()
        perform = Storage.perform

        def hang(self: Storage, writes: object) -> None:
            reached.set()
            gate.wait(PATIENCE_S)
            perform(self, writes)

        monkeypatch.setattr(Storage, "perform", hang)
        writing = asyncio.ensure_future(v.append([v.entry(b"slow")]))
        await asyncio.to_thread(reached.wait, PATIENCE_S)
        for _ in range(20):
            heartbeat = pb.AppendEntriesRequest(rpc_header=header(), term=TERM, leader=b"h:1")
            assert (await v.stub.AppendEntries(heartbeat)).success
        assert not writing.done()
        gate.set()
        await writing
        await v.lead()

    run(scenario)


def test_timeout_now_makes_one_candidate_once(run: Callable) -> None:
    """However often it is said: the term rises by one, and a leader of a later term is followed."""

    async def scenario(v: Victim) -> None:
        call = pb.TimeoutNowRequest(rpc_header=header())
        answers = await asyncio.gather(*(v.stub.TimeoutNow(call) for _ in range(200)), return_exceptions=True)
        obeyed = [answer for answer in answers if isinstance(answer, pb.TimeoutNowResponse)]
        assert (len(answers), len(obeyed)) == (200, 1)
        assert (v.status.role, v.status.term) == (Role.CANDIDATE, TERM + 1)
        await v.lead(TERM + 2)
        assert (v.status.role, v.status.term) == (Role.FOLLOWER, TERM + 2)

    run(scenario)


def test_a_leader_without_a_name_is_followed_like_by_hashicorp_raft(run: Callable) -> None:
    async def scenario(v: Victim) -> None:
        nameless = pb.RPCHeader(protocol_version=3)
        await v.append([v.entry(b"x", term=TERM + 1)], rpc_header=nameless, term=TERM + 1, leader=b"")
        assert (v.status.term, v.status.leader_id) == (TERM + 1, "")
        await v.lead(TERM + 1)
        assert v.status.leader_id == "boss"

    run(scenario)


def test_the_last_term_of_all_leaves_the_node_running(run: Callable, tmp_path) -> None:
    """Nobody can rule after it, and whoever speaks for a leader can use it up; but neither crash nor lie follows."""
    last = 2**63 - 1

    async def scenario(v: Victim) -> None:
        await v.lead(last)
        assert v.status.term == last
        await v.stub.TimeoutNow(pb.TimeoutNowRequest(rpc_header=header()))
        assert v.status.role is Role.CANDIDATE
        commands = v.machine.commands.copy()
        await v.node.stop()
        async with Victim(tmp_path) as again:
            assert again.status.term == last + 1
            assert again.status.last_index == len(commands) + 1

    run(scenario)
