"""Either half of a HashiCorp node dies at every step: no entry is applied twice or skipped, no snapshot is half taken.

Both halves are real.  The Go half is killed when a frame of a chosen kind passes; the node, in a process of its own,
by a state machine that kills its own process at a chosen step.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engine_nodes import PATIENCE_S, Journal, small, until

from matchengine.cluster.processes import free_addresses
from matchengine.errors import EngineError, MatchEngineError
from matchengine.raft.proposals import ChangeKind, ChangeMembership
from matchengine.runtime.hashicorp.frames import FrameReader, Kind
from matchengine.runtime.hashicorp.streams import Stream

pytestmark = pytest.mark.integration

ENGINE = "hashicorp"


def kill_raft_when(monkeypatch, node, kind, *, before):
    """SIGKILL for the Go half when a frame of ``kind`` comes from it: seen here or not, the last one."""
    feed = FrameReader.feed
    killed = []

    def watched(self, data):
        for found, body in () if killed else feed(self, data):
            if found is not kind:
                yield found, body
                continue
            if not before:
                yield found, body
            killed.append(node._engine._process.pid)
            os.kill(killed[0], signal.SIGKILL)
            return

    monkeypatch.setattr(FrameReader, "feed", watched)


def hold_back_until_the_end(monkeypatch, node, kind):
    """SIGKILL for the Go half when a frame of ``kind`` comes from it, which is seen here only when its end is known."""
    feed = FrameReader.feed
    killed = []

    def watched(self, data):
        for found, body in () if killed else feed(self, data):
            if found is not kind:
                yield found, body
                continue
            process = node._engine._process
            process.ended.add_done_callback(lambda _, body=body: node._engine._take(kind, body))
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            return

    monkeypatch.setattr(FrameReader, "feed", watched)


def kill_raft_when_sent(monkeypatch, kind):
    """SIGKILL for the Go half instead of sending it a frame of ``kind`` in a snapshot."""
    send = Stream.send
    victims = []

    def watched(self, found, body=b""):
        if found is kind and victims:
            os.kill(victims.pop(), signal.SIGKILL)
        send(self, found, body)

    monkeypatch.setattr(Stream, "send", watched)
    return victims


async def filled(nodes, count, **more):
    """A node that has acknowledged ``count`` commands, in order."""
    node = await nodes.led(**more)
    for number in range(count):
        await node.propose(b"%d" % number)
    return node


async def it_goes_on(nodes, address, acknowledged, maybe=()):
    """The node starts again and has what was acknowledged, once, and of the rest only what was under way."""
    machine = Journal()
    again = await nodes.led(address=address, machine=machine)
    await again.barrier()
    commands = machine.commands
    assert commands[: len(acknowledged)] == acknowledged
    assert commands[len(acknowledged) :] in [list(maybe[:count]) for count in range(len(maybe) + 1)]
    indexes = [index for index, _ in machine.entries]
    assert indexes == sorted(set(indexes))
    assert (await again.propose(b"more")).result == b"%d" % (len(commands) + 1)
    await again.stop()


ACKNOWLEDGED = [b"%d" % number for number in range(5)]


@pytest.mark.parametrize("before", [True, False], ids=["unseen", "seen"])
@pytest.mark.parametrize("kind", [Kind.READY, Kind.STATE])
def test_raft_dies_while_it_starts(play, monkeypatch, kind, before):
    async def scenario(nodes):
        node = await filled(nodes, 5)
        await node.stop()
        with monkeypatch.context() as patch:
            second = nodes.make(address=node.config.address)
            nodes.running.append(second)
            kill_raft_when(patch, second, kind, before=before)
            with pytest.raises(EngineError, match=r"killed by signal 9"):
                await second.start()
                await second.wait_stopped()
        await second.stop()
        await it_goes_on(nodes, node.config.address, ACKNOWLEDGED)

    play(scenario, ENGINE)


def test_a_start_ends_when_raft_is_dead_before_its_word_that_it_is_ready_is_read(play, monkeypatch):
    async def scenario(nodes):
        node = await filled(nodes, 5)
        await node.stop()
        with monkeypatch.context() as patch:
            second = nodes.make(address=node.config.address)
            nodes.running.append(second)
            hold_back_until_the_end(patch, second, Kind.READY)
            with pytest.raises(EngineError, match=r"killed by signal 9"):
                await second.start()
        await it_goes_on(nodes, node.config.address, ACKNOWLEDGED)

    play(scenario, ENGINE)


@pytest.mark.parametrize("before", [True, False], ids=["unseen", "seen"])
@pytest.mark.parametrize("kind", [Kind.ENTRIES, Kind.OUTCOME])
def test_raft_dies_around_an_entry(play, monkeypatch, kind, before):
    async def scenario(nodes):
        node = await filled(nodes, 5)
        with monkeypatch.context() as patch:
            kill_raft_when(patch, node, kind, before=before)
            under_way = [node.propose(b"a"), node.propose(b"b")]
            found = await asyncio.gather(*under_way, return_exceptions=True)
            with pytest.raises(EngineError, match="killed by signal 9"):
                await node.wait_stopped()
        answered = [b for b, outcome in zip((b"a", b"b"), found, strict=True) if not isinstance(outcome, Exception)]
        assert all(isinstance(outcome, MatchEngineError) for outcome in found[len(answered) :])
        rest = (b"a", b"b")[len(answered) :]
        await it_goes_on(nodes, node.config.address, [*ACKNOWLEDGED, *answered], rest)

    play(scenario, ENGINE)


@pytest.mark.parametrize("before", [True, False], ids=["unseen", "seen"])
@pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.RELEASE])
def test_raft_dies_around_a_snapshot(play, monkeypatch, kind, before):
    async def scenario(nodes):
        node = await filled(nodes, 5)
        with monkeypatch.context() as patch:
            kill_raft_when(patch, node, kind, before=before)
            asked = asyncio.ensure_future(node.snapshot())
            with pytest.raises(EngineError):
                await node.wait_stopped()
        await asyncio.gather(asked, return_exceptions=True)
        await it_goes_on(nodes, node.config.address, ACKNOWLEDGED)

    play(scenario, ENGINE)


@pytest.mark.parametrize("kind", [Kind.CHUNK, Kind.END])
def test_raft_dies_in_the_middle_of_a_snapshot(play, monkeypatch, kind):
    async def scenario(nodes):
        node = await filled(nodes, 5, machine=Journal(b"x" * 3_000_000))
        with monkeypatch.context() as patch:
            kill_raft_when_sent(patch, kind).append(node._engine._process.pid)
            asked = asyncio.ensure_future(node.snapshot())
            with pytest.raises(EngineError):
                await node.wait_stopped()
        await asyncio.gather(asked, return_exceptions=True)
        left = nodes.folder / "a" / "raft" / "snapshots"
        assert [each for each in left.iterdir() if each.suffix != ".tmp"] == []
        await it_goes_on(nodes, node.config.address, ACKNOWLEDGED)

    play(scenario, ENGINE)


def test_raft_dies_in_the_middle_of_a_restore(play):
    class Slow(Journal):
        def restore(self, chunks):
            for _ in chunks:
                os.kill(victim[0], signal.SIGKILL)

    victim = []

    async def scenario(nodes):
        node = await filled(nodes, 5, machine=Journal(b"x" * 3_000_000))
        await node.snapshot()
        await node.stop()
        second = nodes.make(address=node.config.address, machine=Slow())
        nodes.running.append(second)
        started = asyncio.ensure_future(second.start())
        await until(lambda: hasattr(second._engine, "_process"))
        victim.append(second._engine._process.pid)
        with pytest.raises(EngineError):
            await started
        await second.stop()
        await it_goes_on(nodes, node.config.address, ACKNOWLEDGED)

    play(scenario, ENGINE)


def test_raft_dies_when_a_restore_is_done(play, monkeypatch):
    async def scenario(nodes):
        node = await filled(nodes, 5)
        await node.snapshot()
        await node.stop()
        with monkeypatch.context() as patch:
            second = nodes.make(address=node.config.address)
            nodes.running.append(second)
            send = Stream.send

            def dead_before_it_hears(self, kind, body=b""):
                os.kill(second._engine._process.pid, signal.SIGKILL)
                send(self, kind, body)

            patch.setattr(Stream, "send", dead_before_it_hears)
            with pytest.raises(EngineError):
                await second.start()
        await second.stop()
        assert second.machine.restores == 1
        await it_goes_on(nodes, node.config.address, ACKNOWLEDGED)

    play(scenario, ENGINE)


def test_raft_dies_while_the_snapshot_of_a_leader_is_loaded(play):
    class Fatal(Journal):
        def restore(self, chunks):
            for _ in chunks:
                os.kill(follower._engine._process.pid, signal.SIGKILL)

    async def scenario(nodes):
        nonlocal follower
        leader = await filled(nodes, 5, machine=Journal(b"x" * 3_000_000), trailing_entries=0)
        await leader.snapshot()
        last = await leader.propose(b"more")
        follower = nodes.make("b", machine=Fatal())
        nodes.running.append(follower)
        await follower.start()
        change = ChangeMembership(ChangeKind.ADD_NONVOTER, "b", follower.config.address)
        await leader.change_membership(change)
        with pytest.raises(EngineError):
            await follower.wait_stopped()
        await follower.stop()
        again = await nodes.start("b", address=follower.config.address)
        await again.wait_applied(last.index)
        assert again.machine.entries == leader.machine.entries

    follower = None
    play(scenario, ENGINE)


def test_raft_dies_while_the_node_stops(play, monkeypatch):
    async def scenario(nodes):
        node = await filled(nodes, 5)
        node._engine._send_request = lambda _request, _told: os.kill(node._engine._process.pid, signal.SIGKILL)
        await node.stop()
        await it_goes_on(nodes, node.config.address, ACKNOWLEDGED)

    play(scenario, ENGINE)


def test_an_entry_that_comes_twice_or_not_at_all_stops_the_node(play, monkeypatch):
    async def scenario(nodes):
        for name, shift, text in (("a", -1, "applied twice"), ("b", 1, "skipped")):
            node = await nodes.led(name, snapshots=small(1000))
            await node.propose(b"x")
            node._engine._next += -shift
            with pytest.raises(MatchEngineError):
                await node.propose(b"y")
            with pytest.raises(EngineError, match=text):
                await node.wait_stopped()
            assert node.machine.commands == [b"x"]

    play(scenario, ENGINE)


def run_node(folder, address, step, commands):
    """What a node acknowledged before it killed itself at ``step``, and its exit code."""
    program = [sys.executable, str(Path(__file__).with_name("suicidal_node.py")), str(folder), address, step]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        program,
        input="".join(f"{command}\n" for command in commands),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout.split(), done.returncode


STEPS = [
    ("apply", ["die"], ["die"]),
    ("applied", ["die"], ["die"]),
    ("snapshot", ["!snapshot"], []),
    ("chunk", ["!snapshot"], []),
    ("end", ["!snapshot"], []),
    ("stop", ["!stop"], []),
]


@pytest.mark.parametrize(("step", "last", "maybe"), STEPS, ids=[step for step, _, _ in STEPS])
def test_the_node_dies_and_takes_raft_along(play, step, last, maybe):
    async def scenario(nodes):
        address = free_addresses(1)[0]
        sent = [command.decode() for command in ACKNOWLEDGED]
        seen, code = await asyncio.to_thread(run_node, nodes.folder / "a", address, step, [*sent, *last])
        assert (seen, code) == (["leads", *sent], -signal.SIGKILL)
        await it_goes_on(nodes, address, ACKNOWLEDGED, [command.encode() for command in maybe])

    play(scenario, ENGINE)


def test_the_node_dies_while_it_starts(play):
    async def scenario(nodes):
        address = free_addresses(1)[0]
        sent = [command.decode() for command in ACKNOWLEDGED]
        await asyncio.to_thread(run_node, nodes.folder / "a", address, "none", sent)
        seen, code = await asyncio.to_thread(run_node, nodes.folder / "a", address, "start", [])
        assert (seen, code) == ([], -signal.SIGKILL)
        await it_goes_on(nodes, address, ACKNOWLEDGED)

    play(scenario, ENGINE)


@pytest.mark.parametrize("step", ["restore", "restored"])
def test_the_node_dies_while_it_restores(play, step):
    async def scenario(nodes):
        address = free_addresses(1)[0]
        sent = [command.decode() for command in ACKNOWLEDGED]
        seen, code = await asyncio.to_thread(run_node, nodes.folder / "a", address, "none", [*sent, "!snapshot"])
        assert (seen, code) == (["leads", *sent, "!snapshot"], 0)
        seen, code = await asyncio.to_thread(run_node, nodes.folder / "a", address, step, [])
        assert (seen, code) == ([], -signal.SIGKILL)
        await it_goes_on(nodes, address, ACKNOWLEDGED)

    play(scenario, ENGINE)
