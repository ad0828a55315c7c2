"""A node from start to stop, on a loopback port of its own: whatever goes wrong ends with a clear error, not a hang."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from grpc.aio._server import Server as GrpcServer

from matchengine.cluster.processes import free_addresses
from matchengine.errors import RefusedError, StoppedError
from matchengine.raft.messages import InstallSnapshot
from matchengine.raft.ready import SoftState
from matchengine.raft.types import Configuration, Entry, Role, Server, SnapshotMeta
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.node import Node, membership_hint
from matchengine.storage.contracts import StorageError
from matchengine.transport import wire
from matchengine.wire import raft_transport_pb2 as pb
from matchengine.wire.raft_transport_pb2_grpc import RaftTransportStub

PATIENCE_S = 120
Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]


class Counter:
    """Counts commands; ``gate`` holds its snapshots back, before or (``lazy``) while they are written."""

    def __init__(self, *, unreadable: bool = False, lazy: bool = False) -> None:
        self.count = 0
        self.unreadable = unreadable
        self.lazy = lazy
        self.reached = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        self.count += len(entries)
        return [b"%d" % self.count] * len(entries)

    def snapshot(self) -> Iterator[bytes]:
        if not self.lazy:
            self._pass_gate()
        return self._chunks()

    def _chunks(self) -> Iterator[bytes]:
        if self.lazy:
            self._pass_gate()
        yield b"%d" % self.count

    def _pass_gate(self) -> None:
        self.reached.set()
        self.gate.wait(PATIENCE_S)

    def restore(self, chunks: Iterable[bytes]) -> None:
        if self.unreadable:
            raise ValueError("this snapshot means nothing to me")
        self.count = int(b"".join(chunks))


def node(folder: Path, machine: Counter, *, node_id: str = "a", address: str = "") -> Node:
    address = address or free_addresses(1)[0]
    return Node(NodeConfig(node_id, address, folder / node_id, bootstrap=True), machine)


async def led(node: Node) -> Node:
    leads = asyncio.Event()
    node.on_leadership(lambda leading: leads.set() if leading else leads.clear())
    await node.start()
    await leads.wait()
    return node


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a scenario; all on one event loop, as gRPC likes it."""

    async def bounded(scenario: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario

    with asyncio.Runner() as runner:
        yield lambda scenario: runner.run(bounded(scenario))


def test_a_snapshot_that_cannot_be_restored_fails_the_start(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        first = await led(node(tmp_path, Counter()))
        await first.propose(b"x")
        await first.snapshot()
        await first.stop()
        second = node(tmp_path, Counter(unreadable=True))
        with pytest.raises(ValueError, match="means nothing"):
            await second.start()
            await second.wait_stopped()
        await second.stop()
        third = await led(node(tmp_path, Counter()))  # the failed one let go of the directory
        assert third.machine.count == 1  # type: ignore[attr-defined]
        await third.stop()

    run(scenario())


def test_an_address_in_use_fails_the_start_and_frees_the_directory(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        first = await led(node(tmp_path, Counter()))
        second = node(tmp_path, Counter(), node_id="b", address=first.config.address)
        with pytest.raises(OSError, match=f"address: cannot bind {first.config.address}: the port is in use; "):
            await second.start()
        await second.stop()
        await first.stop()
        again = node(tmp_path, Counter(), node_id="b")
        await again.start()
        await again.stop()

    run(scenario())


def test_stopping_a_node_that_never_ran_does_nothing(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "raft.db").touch()
        foreign = node(tmp_path, Counter())
        await foreign.stop()
        with pytest.raises(StorageError, match="HashiCorp"):
            await foreign.start()
        await foreign.stop()

    run(scenario())


def test_no_call_is_cancelled_because_the_node_stops(tmp_path: Path, run: Run) -> None:
    """A client of a node that stops must hear something after which it tries another node."""

    async def scenario() -> None:
        running = await led(node(tmp_path, Counter()))
        request = pb.RequestVoteRequest(rpc_header=wire.make_header("b", "h:1"), term=1)
        async with grpc.aio.insecure_channel(running.config.address) as channel:
            stub = RaftTransportStub(channel)
            await stub.RequestVote(request)
            calls = [stub.RequestVote(request) for _ in range(10)]
            await running.stop()
            codes = {await call.code() for call in calls}
        assert grpc.StatusCode.CANCELLED not in codes, codes

    run(scenario())


@pytest.mark.parametrize("lazy", [False, True], ids=["captured", "written"])
def test_a_snapshot_under_way_when_the_node_stops_is_reported(tmp_path: Path, run: Run, lazy: bool) -> None:
    async def scenario() -> None:
        machine = Counter(lazy=lazy)
        running = await led(node(tmp_path, machine))
        await running.propose(b"x")
        machine.gate.clear()
        asked = [asyncio.ensure_future(running.snapshot())]
        await asyncio.to_thread(machine.reached.wait, PATIENCE_S)
        if lazy:  # commands are applied meanwhile, so a second snapshot makes sense
            await running.propose(b"y")
            asked.append(asyncio.ensure_future(running.snapshot()))
            await asyncio.sleep(0)
        await running.stop()
        machine.gate.set()
        assert [type(e) for e in await asyncio.gather(*asked, return_exceptions=True)] == [StoppedError] * len(asked)

    run(scenario())


def test_an_error_of_a_watcher_stops_the_node(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        def watcher(_leading: bool) -> None:
            raise RuntimeError("the watcher fell over")

        running = node(tmp_path, Counter())
        running.on_leadership(watcher)
        await running.start()
        with pytest.raises(RuntimeError, match="fell over"):
            await running.wait_stopped()

    run(scenario())


def test_a_disk_that_fails_while_the_node_hands_over_is_not_a_clean_stop(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        running = await led(node(tmp_path, Counter()))

        async def hand_over(_target: str | None = None) -> None:
            running._engine.stop(StorageError("the disk is gone"))
            raise RefusedError("nobody there")

        running.transfer_leadership = hand_over  # type: ignore[method-assign]
        await running.stop()
        with pytest.raises(StorageError, match="gone"):
            await running.wait_stopped()

    run(scenario())


def test_a_disk_that_fails_while_a_snapshot_comes_in_stops_the_node(tmp_path: Path, run: Run) -> None:
    """Nothing else may ever be written: a follower without news would refuse its leader's snapshots for ever."""

    async def scenario() -> None:
        follower = Node(NodeConfig("a", free_addresses(1)[0], tmp_path / "a"), Counter())
        await follower.start()
        boss = wire.make_header("boss", "127.0.0.1:1")
        members = Configuration((Server("a", follower.config.address), Server("boss", "127.0.0.1:1")))
        offer = InstallSnapshot(5, SnapshotMeta(9, 4, members, 1, 1))
        first = wire.encode_install_snapshot(boss, offer, 1)
        async with grpc.aio.insecure_channel(follower.config.address) as channel:
            stub = RaftTransportStub(channel)
            heartbeat = pb.AppendEntriesRequest(rpc_header=boss, term=5, leader=b"127.0.0.1:1")
            assert (await stub.AppendEntries(heartbeat)).success  # the term is written, and nothing more will be
            shutil.rmtree(tmp_path / "a" / "snapshots")
            with pytest.raises(grpc.aio.AioRpcError, match="creating"):
                await stub.InstallSnapshot(iter([first, wire.encode_snapshot_data(b"1")]))
            with pytest.raises(StorageError, match=r"creating .* restart the node"):
                await follower.wait_stopped()

    run(scenario())


def test_after_a_shutdown_the_services_answer_for_a_while(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        told: list[bool] = []
        running = await led(node(tmp_path, Counter()))
        running.on_leadership(told.append)
        await running.shutdown(0.2)
        assert (await running.status()).is_shut_down
        with pytest.raises(StoppedError):
            await running.barrier()
        async with grpc.aio.insecure_channel(running.config.address) as channel:
            await channel.channel_ready()
        assert told == [False]
        await running.stop()
        await running.wait_stopped()

    run(scenario())


def test_the_log_says_whom_a_node_follows_once_for_each_leader_and_term(tmp_path, caplog):
    caplog.set_level("INFO")
    watched = node(tmp_path, Counter())
    watched.soft_state_changed(SoftState(Role.FOLLOWER, 4, "", ""))
    watched.soft_state_changed(SoftState(Role.FOLLOWER, 4, "b", "10.0.0.2:1"))
    watched.soft_state_changed(SoftState(Role.FOLLOWER, 4, "b", "10.0.0.2:1"))
    watched.soft_state_changed(SoftState(Role.FOLLOWER, 6, "b", "10.0.0.2:1"))
    assert caplog.messages == [f"node a follows b at 10.0.0.2:1 in term {term}" for term in (4, 6)]


def test_the_log_says_when_a_node_begins_and_ceases_to_lead(tmp_path, caplog):
    caplog.set_level("INFO")
    watched = node(tmp_path, Counter())
    watched.soft_state_changed(SoftState(Role.LEADER, 4, "a", "10.0.0.1:1"))
    watched.soft_state_changed(SoftState(Role.FOLLOWER, 5, "", "", "a newer term"))
    assert caplog.messages == ["node a leads in term 4", "node a no longer leads in term 5: a newer term"]


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ((), "belongs to no cluster yet: .* `matchengine member add a 127.0.0.1:5`"),
        ((Server("b", "127.0.0.1:6"), Server("c", "127.0.0.1:7")), "is not a member of the cluster in its log: b, c"),
        ((Server("a", "10.0.0.1:5"),), "announces 127.0.0.1:5, but the others reach it at 10.0.0.1:5"),
        ((Server("a", "127.0.0.1:5"), Server("b", "127.0.0.1:6")), "$"),
    ],
)
def test_a_node_that_cannot_take_part_as_it_stands_says_so_at_its_start(servers, words, tmp_path):
    config = NodeConfig("a", "127.0.0.1:5", tmp_path)
    assert re.match(words, membership_hint(config, Configuration(servers)))


def test_the_hint_reaches_the_log_of_a_node_that_was_never_bootstrapped(run, tmp_path, caplog):
    async def scenario() -> None:
        lonely = Node(NodeConfig("a", free_addresses(1)[0], tmp_path / "a"), Counter())
        await lonely.start()
        await lonely.stop()

    run(scenario())
    assert any("belongs to no cluster yet" in message for message in caplog.messages)


def test_a_start_that_is_cancelled_as_the_server_starts_leaves_no_error_in_the_log(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As by a SIGTERM at that moment: the node stops cleanly, and nothing but that is told."""
    start = GrpcServer.start

    async def scenario() -> None:
        async def interrupted(self: GrpcServer) -> None:
            starting.cancel()
            await start(self)

        monkeypatch.setattr(GrpcServer, "start", interrupted)
        halted = node(tmp_path, Counter())
        starting = asyncio.create_task(halted.start())
        with pytest.raises(asyncio.CancelledError):
            await starting
        await asyncio.sleep(0)

    run(scenario())
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
