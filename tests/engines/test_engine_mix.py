"""Nodes of both engines in one cluster: either takes the other's log, and the other's snapshot however large."""

import pytest
from engine_nodes import Journal, reads

from matchengine.raft.proposals import ChangeKind

pytestmark = pytest.mark.integration

BALLAST = bytes(range(256)) * (100 * 4096)  # 100 MiB


@pytest.mark.parametrize(("first", "second"), [("matchengine", "hashicorp"), ("hashicorp", "matchengine")])
def test_a_node_that_lags_gets_the_snapshot_of_the_other_engine(play, go_programs, first, second):
    async def scenario(nodes):
        leader = await nodes.led("a", engine=first, machine=Journal(BALLAST), trailing_entries=5)
        for number in range(40):
            await leader.propose(b"%d" % number)
        await leader.snapshot()
        assert (await leader.status()).first_index > 1
        last = await leader.propose(b"more")
        before = await leader.status()

        follower = await nodes.join(leader, "b", ChangeKind.ADD_NONVOTER, engine=second)
        await follower.wait_applied(last.index)
        assert follower.machine.restores == 1
        assert follower.machine.entries == leader.machine.entries
        assert b"".join(follower.machine.snapshot()) == b"".join(leader.machine.snapshot())
        after = await leader.status()
        assert (after.term, after.role) == (before.term, before.role)  # heartbeats were answered all the time

        await leader.propose(b"again")
        await reads(follower)
        await follower.snapshot()
        address = follower.config.address
        await follower.stop()
        back = await nodes.start("b", engine=second, address=address)
        await back.wait_applied(last.index)
        assert back.machine.commands[:41] == leader.machine.commands[:41]
        assert back.machine.ballast == BALLAST

    play(scenario, first)
