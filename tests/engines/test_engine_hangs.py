"""Either half of a HashiCorp node lives and does nothing: others lead, what is under way ends, nothing is lost."""

import asyncio
import os
import signal

import pytest
from engine_nodes import PATIENCE_S

from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.local import LocalCluster
from matchengine.errors import EngineError, UnknownOutcomeError
from matchengine.runtime.hashicorp import pulse

pytestmark = pytest.mark.integration

ENGINE = "hashicorp"


def test_a_raft_process_that_hangs_ends_the_node_and_what_is_under_way(play, monkeypatch):
    async def scenario(nodes):
        node = await nodes.led()
        await node.propose(b"x")
        os.kill(node._engine._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(pulse, "ROUND_S", 0.01)
        under_way = [node.propose(b"y"), node.propose(b"z")]
        barrier = asyncio.ensure_future(node.barrier())
        found = await asyncio.gather(*under_way, return_exceptions=True)
        assert {type(error) for error in found} == {UnknownOutcomeError}
        with pytest.raises(EngineError, match="lives, but says nothing"):
            await node.wait_stopped()
        await asyncio.gather(barrier, return_exceptions=True)
        monkeypatch.undo()
        again = await nodes.led(address=node.config.address)
        await again.barrier()
        assert again.machine.commands[:1] == [b"x"]

    play(scenario, ENGINE)


def test_a_raft_process_that_never_speaks_keeps_no_start_waiting(play, monkeypatch, tmp_path):
    program = tmp_path / "mute"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)

    async def scenario(nodes):
        monkeypatch.setattr(pulse, "ROUND_S", 0.01)
        with pytest.raises(EngineError, match="lives, but says nothing"):
            await nodes.start(engine_program=program)

    play(scenario, ENGINE)


class Rounds:
    """A loop whose timers the test runs: however late, each is one round."""

    def call_later(self, _delay, callback):
        self.next = callback
        return self

    def cancel(self):
        self.next = None


def test_silence_is_counted_in_rounds_of_this_process():
    rounds, lost = Rounds(), []
    listener = pulse.Pulse(rounds, lambda: lost.append(1))
    for heard in (3, pulse.PATIENCE):
        for _ in range(heard):
            rounds.next()
        listener.heard()
    for _ in range(pulse.PATIENCE):
        rounds.next()
    assert lost == []
    rounds.next()
    assert lost == [1]
    listener.stop()
    assert rounds.next is None


def test_a_leader_whose_state_machine_hangs_hands_over_and_catches_up(go_programs, runner, tmp_path):
    async def scenario():
        cluster = LocalCluster(2, tmp_path, ENGINE)
        first, second = cluster.nodes
        try:
            await cluster.start()
            async with ExchangeClient(cluster.addresses) as client:
                first.freeze()
                await cluster.until("the other node leads", lambda: leads(cluster, second))
                # Its Raft half still has a vote, and the log: two of two are a quorum.
                await client.add_instrument("ACME", "1", "1")
                first.thaw()
                await cluster.caught_up(first)
                assert len({status.state_hash for status in await cluster.state_hashes()}) == 1
        finally:
            first.thaw()
            await cluster.stop()

    async def leads(cluster, node):
        status = await cluster.admin.try_status(node.address)
        return status is not None and status.role == "leader"

    async def bounded():
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario()

    runner.run(bounded())
    assert "has not answered for" in (tmp_path / "node1.log").read_text()
