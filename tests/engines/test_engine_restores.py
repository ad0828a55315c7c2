"""A node that lagged takes a leader's snapshot over while it is asked how it stands."""

import asyncio
import contextlib
import threading

import pytest
from engine_nodes import Journal, until

from matchengine.cluster.processes import free_addresses
from matchengine.errors import BusyError
from matchengine.raft.proposals import ChangeKind, ChangeMembership

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("engine", ["matchengine", "hashicorp"])]


class Line:
    """What peers know as a node's address; it can be cut."""

    def __init__(self, address, to):
        self.address = address
        self._to = to
        self._open = set()
        self.whole = True

    async def serve(self):
        self._server = await asyncio.start_server(self._take, *self.address.rsplit(":", 1))

    async def _take(self, reader, writer):
        if not self.whole:
            writer.close()
            return
        there, back = await asyncio.open_connection(*self._to.rsplit(":", 1))
        self._open |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self):
        self.whole = False
        for writer in self._open:
            writer.transport.abort()

    def close(self):
        self.cut()
        self._server.close()


class Held(Journal):
    """Takes a state over when it may."""

    def __init__(self):
        super().__init__()
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def restore(self, chunks):
        self.begun.set()
        self.may_end.wait(30)
        super().restore(chunks)


def test_a_node_is_asked_while_it_takes_over_a_snapshot(play, engine):
    async def scenario(nodes):
        leader = await nodes.led("a", trailing_entries=0)
        known, bound = free_addresses(2)
        line = Line(known, bound)
        await line.serve()
        machine = Held()
        follower = await nodes.start("b", address=known, listen=bound, machine=machine)
        await leader.change_membership(ChangeMembership(ChangeKind.ADD_NONVOTER, "b", known))
        await leader.propose(b"x")
        await until(lambda: machine.commands)
        await leader.barrier()  # is the newest of the follower's log, and no state machine sees it
        last = (await leader.status()).last_index
        await asyncio.sleep(0.3)  # for the leader's word; who asked the follower would have the barrier passed on
        line.cut()
        await asyncio.gather(*(leader.propose(b"y") for _ in range(50)))

        async def forgotten():
            """A leader of ours keeps for a while what a follower needs that was heard lately; theirs does not say."""
            await leader.propose(b"z")
            await leader.snapshot()
            status = await leader.status()
            return status.first_index > last + 1 or (engine == "hashicorp" and status.snapshot_index > last)

        await until(forgotten)
        line.whole = True
        await asyncio.to_thread(machine.begun.wait, 30)
        asked = [asyncio.ensure_future(follower.status()) for _ in range(3)]
        waits = asyncio.ensure_future(follower.wait_applied(last))
        await asyncio.gather(*asked)
        assert not follower.machine_is_readable
        with pytest.raises(BusyError, match="replaced by a snapshot"):
            await follower.examine(machine.state_hash)
        machine.may_end.set()
        await waits
        await until(lambda: machine.entries == leader.machine.entries)
        line.close()

    play(scenario, engine)
