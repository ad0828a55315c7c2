"""A cluster of an older program is upgraded node by node under load, and then to the newest feature level.

What a later change puts behind a level gets an entry in FEATURES: it must be away before the level is raised, and there
afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import msgspec
import pytest
from fleet import Fleet, VersionedNode

from matchengine.client.exchange import BUY, SELL, ExchangeClient, ExchangeReader
from matchengine.cluster.processes import free_addresses
from matchengine.errors import RefusedError
from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.levels import Levels, newest_levels
from matchengine.v1 import exchange_pb2 as pb
from matchengine.v1 import machine_pb2
from matchengine.v1.machine_pb2_grpc import SessionsStub

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
NEW = ROOT / "src"
NEWEST = newest_levels(ExchangeStateMachine())
BATCH = 5


class Feature(msgspec.Struct, frozen=True):
    """``is_there(cluster, channel)`` tells whether the cluster behaves so now; ``channel`` leads to the leader."""

    name: str
    level: Levels
    is_there: Callable[[Fleet, grpc.aio.Channel], Awaitable[bool]]


async def level_is_told(cluster, _channel):
    """Every node tells that a level is in force."""
    return all(Levels(s.active_levels.library, s.active_levels.machine) != Levels() for s in await cluster.statuses())


async def session_ids_are_random(cluster, channel):
    """Before, the id is the index of the entry that opened the session."""
    opened = await SessionsStub(channel).Open(machine_pb2.OpenSessionRequest(client_name="probe"))
    last = max(status.last_index for status in await cluster.statuses())
    await SessionsStub(channel).Close(machine_pb2.CloseSessionRequest(session_id=opened.session_id))
    return opened.session_id > last


async def sessions_are_closed_by_name(_cluster, channel):
    """Before, the request is refused with the level that it needs."""
    try:
        await SessionsStub(channel).Close(machine_pb2.CloseSessionRequest(client_name="nobody"))
    except grpc.aio.AioRpcError as error:
        return "this needs feature level 1.0, and the cluster is at 0.0" not in str(error.details())
    return True


FEATURES = [
    Feature("the level in force is told", Levels(1, 0), level_is_told),
    Feature("session ids are random", Levels(1, 0), session_ids_are_random),
    Feature("sessions are closed by name", Levels(1, 0), sessions_are_closed_by_name),
]


class Trader:
    """Sends batches one after the other until it is stopped; every third order takes from the book."""

    def __init__(self, client):
        self.client = client
        self.orders = 0
        self.reports = []
        self._answered = asyncio.Condition()
        self._going = asyncio.Event()
        self._going.set()
        self._idle = False
        self._stopped = False

    async def run(self):
        while not self._stopped:
            self.reports += await self.client.send([self._order(self.orders + n) for n in range(1, BATCH + 1)])
            async with self._answered:
                self.orders += BATCH
                self._idle = not self._going.is_set()
                self._answered.notify_all()
            await self._going.wait()

    def _order(self, number):
        order = pb.NewOrder(
            cl_ord_id=number,
            symbol="ACME",
            side=SELL if number % 3 == 0 else BUY,
            ord_type=pb.ORD_TYPE_LIMIT,
            time_in_force=pb.TIME_IN_FORCE_GTC,
            price="1.00",
            quantity="1",
        )
        return pb.Command(account=1, new_order=order)

    async def progress(self, batches=20):
        """Wait until so many more have been answered."""
        target = self.orders + batches * BATCH
        async with self._answered:
            await self._answered.wait_for(lambda: self.orders >= target)

    async def pause(self):
        """Send nothing more; returns when all has been answered."""
        self._going.clear()
        async with self._answered:
            await self._answered.wait_for(lambda: self._idle)

    def resume(self):
        self._idle = False
        self._going.set()

    def stop(self):
        self._stopped = True
        self._going.set()

    def assert_each_order_once(self):
        """The exchange numbers orders without gaps, so a lost or doubled one would shift all that follow."""
        accepted = [report.order_id for report in self.reports if report.exec_type == "0"]
        assert accepted == list(range(1, self.orders + 1))
        trades = sum(report.exec_type == "F" for report in self.reports)
        assert trades == 2 * (self.orders // 3)


async def matchengine(*arguments):
    """The command of today: exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "matchengine.cli.main", *arguments),
        env={**os.environ, "PYTHONPATH": str(NEW)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def features_there(cluster):
    async with grpc.aio.insecure_channel((await cluster.leader()).address) as channel:
        return {feature.name for feature in FEATURES if await feature.is_there(cluster, channel)}


async def founded(cluster):
    """Start the older program; returns a client of its exchange."""
    await cluster.start()
    client = ExchangeClient(cluster.addresses)
    await client.open()
    assert (await client.add_instrument("ACME", "0.01", "1")).instrument == 1
    return client


async def agree(cluster, trader):
    """All nodes have the same state, and the book is the one that the answers tell of."""
    await trader.pause()
    hashes = await cluster.state_hashes()
    assert len({status.state_hash for status in hashes}) == 1
    async with ExchangeReader(cluster.addresses) as reader:
        (level,) = (await reader.depth("ACME")).bids
    assert int(level.quantity) == trader.orders - 2 * (trader.orders // 3)
    trader.resume()


async def mixed(cluster, trader, new_node):
    """An upgraded node leads older ones, is killed under load, and comes back; the level cannot be raised."""
    await cluster.let_lead(new_node)
    await trader.progress()
    with pytest.raises(RefusedError, match=f"feature level {NEWEST} cannot be put in force, 0.0 stays:") as refused:
        await cluster.admin.upgrade(new_node.address, NEWEST)
    older = [f"  {n.id} at {n.address} executes up to 0.0" for n in cluster.nodes if n is not new_node]
    assert str(refused.value).splitlines()[1:] == older
    new_node.kill()
    await trader.progress()
    new_node.start()
    await cluster.caught_up(new_node)


async def upgraded(cluster, trader, *, leader_first):
    """Move every node to the newer program."""
    for moved in range(len(cluster.nodes)):
        leader = await cluster.leader()
        waiting = [node for node in cluster.nodes if node.program != NEW]
        node = next((n for n in waiting if (n is leader) is leader_first), waiting[0])
        await cluster.move(node, NEW)
        await trader.progress()
        if moved == 0:
            await mixed(cluster, trader, node)


async def raised(cluster, trader):
    """The operator raises the level, while orders come in."""
    assert await features_there(cluster) == set()
    await trader.progress()
    code, printed = await matchengine("cluster", "upgrade", "--addresses", cluster.addresses[0])
    assert code == 0, printed
    assert printed.startswith(f"feature level {NEWEST} is in force since index ")
    await trader.progress()
    await agree(cluster, trader)
    assert all(NEWEST.covers(feature.level) for feature in FEATURES)
    assert await features_there(cluster) == {feature.name for feature in FEATURES}


async def journey(cluster, trader, *, leader_first):
    """From the older program at level 0, with a snapshot and a log behind it, to the newer one at its newest level."""
    await trader.progress()
    for node in cluster.nodes:
        with contextlib.suppress(RefusedError):  # the older program, when its policy has just taken one
            await cluster.admin.snapshot(node.address)
    await trader.progress()
    await upgraded(cluster, trader, leader_first=leader_first)
    await agree(cluster, trader)
    await raised(cluster, trader)


async def shut_out(cluster, old_program):
    """The older program is not added, and stops where it could not be asked: as a new member, and on its directory."""
    leader = await cluster.leader()
    addresses = free_addresses(2)
    asked = VersionedNode("asked", addresses[0], cluster.folder, old_program)
    silent = VersionedNode("silent", addresses[1], cluster.folder, old_program)
    asked.start()
    try:
        await cluster.until("the older node answers", lambda: cluster._answers(asked))
        with pytest.raises(RefusedError, match=f"executes feature levels up to 0.0, and the cluster's is {NEWEST}"):
            await cluster.admin.add_nonvoter(leader.address, asked.id, asked.address)
        await cluster.admin.add_nonvoter(leader.address, silent.id, silent.address)
        silent.start()
        assert await silent.ended() == 1
        assert "version 2 is above 1" in silent.last_words()
    finally:
        asked.kill()
        silent.kill()
    await cluster.admin.remove_server(leader.address, silent.id)
    former = next(node for node in cluster.nodes if node is not leader)
    await former.terminate()
    former.program = old_program
    former.start()
    assert await former.ended() == 1
    assert "version 2" in former.last_words()


@pytest.mark.parametrize("order", ["leader first", "leader last"])
def test_nothing_is_lost_or_doubled_while_nodes_move_to_the_newer_program(tmp_path, old_program, order):
    async def scenario():
        cluster = Fleet(3, tmp_path, old_program)
        try:
            client = await founded(cluster)
            trader = Trader(client)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(trader.run())
                await journey(cluster, trader, leader_first=order == "leader first")
                trader.stop()
            trader.assert_each_order_once()
            if order == "leader last":
                await shut_out(cluster, old_program)
            await client.close()
        finally:
            await cluster.stop()

    asyncio.run(scenario())
