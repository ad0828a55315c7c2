"""An answer larger than any request, as a sweep through a large book makes it, arrives once and in order."""

import asyncio

import pytest

from matchengine import Client, Node, NodeConfig
from matchengine.client.exchange import ExchangeClient
from matchengine.cluster.local import LocalCluster
from matchengine.cluster.processes import free_addresses
from matchengine.exchange.layout import ANSWER_HEADER, BATCH_HEADER, COMMAND, KIND_ORDERS, MAX_COMMANDS, REPORT, VERSION
from matchengine.exchange.types import CommandType, ExecType, OrdType, Side, TimeInForce
from matchengine.v1 import exchange_pb2 as pb

pytestmark = pytest.mark.integration

MAKERS = 30_000
GTC = OrdType.LIMIT | TimeInForce.GTC << 4


class Echo:
    """Answers a number with so many bytes."""

    def apply(self, entries):
        return [bytes(int(entry.data)) for entry in entries]

    def snapshot(self):
        return iter(())

    def restore(self, chunks):
        assert not b"".join(chunks)


def test_an_answer_of_any_size_arrives_once(tmp_path):
    async def scenario():
        (address,) = free_addresses(1)
        node = Node(NodeConfig("a", address, tmp_path / "a", bootstrap=True), Echo())
        await node.start()
        try:
            async with Client(address) as client:
                assert len(await client.apply(b"70000000")) == 70_000_000
                assert len(await client.apply(b"3")) == 3
                assert client.session.streams == 1
        finally:
            await node.stop()

    asyncio.run(scenario())


# --- a leader that is killed while an answer is on its way ---------------------------------


def batch(*records):
    return BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(records)) + b"".join(records)


def order(account, cl_ord_id, side, quantity):
    return COMMAND.pack(CommandType.NEW, side, GTC, 0, 1, account, 0, cl_ord_id, 0, 100, quantity)


async def rest(client):
    """MAKERS orders, numbered from 1, to sell one lot each."""
    sizes = [range(first, min(first + MAX_COMMANDS, MAKERS + 1)) for first in range(1, MAKERS + 1, MAX_COMMANDS)]
    await asyncio.gather(*[await client.submit(batch(*(order(1, n, Side.SELL, 1) for n in each))) for each in sizes])


async def sweep(cluster, client, command):
    """The slices of one order through the whole book; the leader is killed as soon as the first is here."""
    slices, killed, streams = [], None, client.session.streams
    async for part in client.slices(command):
        if killed is None:
            killed = cluster.node_at(client.session.leader)
            killed.kill()
        slices.append(part)
    assert client.session.streams > streams
    assert cluster.node_at(client.session.leader) is not killed
    killed.start()
    await cluster.caught_up(killed)
    return slices


def fills(first_trade):
    """What the taker has to be told behind its order's acceptance, as (whose, trade, order's name)."""
    return [fill for n in range(MAKERS) for fill in ((2, first_trade + n, 1), (1, first_trade + n, n + 1))]


async def sweeps(cluster):
    async with ExchangeClient(cluster.addresses) as maker, ExchangeClient(cluster.addresses, account=2) as taker:
        await maker.add_instrument("ACME", "1", "1")

        await rest(maker)
        slices = await sweep(cluster, taker, batch(order(2, 1, Side.BUY, MAKERS)))
        packed = b"".join(part.packed for part in slices)
        assert ANSWER_HEADER.unpack_from(packed)[3] == 2 * MAKERS + 1
        (first, *others) = REPORT.iter_unpack(packed[ANSWER_HEADER.size :])
        assert first[0] == ExecType.NEW and {report[0] for report in others} == {ExecType.TRADE}
        assert [(report[6], report[10], report[8]) for report in others] == fills(1)

        await rest(maker)
        new = pb.NewOrder(cl_ord_id=1, symbol="ACME", side=1, ord_type=1, time_in_force=3, quantity=str(MAKERS))
        slices = await sweep(cluster, taker, [pb.Command(account=2, new_order=new)])
        (first, *others) = (report for part in slices for report in part.reports)
        assert first.exec_type == "0" and {report.exec_type for report in others} == {"F"}
        assert [(report.account, report.trade_id, report.cl_ord_id) for report in others] == fills(MAKERS + 1)
        assert max(len(part.reports) for part in slices) <= 256

        assert {report.exec_type for report in await taker.cancel(1)} == {"9"}
    assert len({status.state_hash for status in await cluster.state_hashes()}) == 1


def test_a_sweep_is_told_once_and_in_order_although_the_leader_dies_on_the_way(tmp_path):
    async def scenario():
        cluster = LocalCluster(3, tmp_path)
        try:
            await cluster.start()
            await sweeps(cluster)
        finally:
            await cluster.stop()

    asyncio.run(scenario())
