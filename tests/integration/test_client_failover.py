"""The client and real nodes: the leader killed, and the leader hung."""

import asyncio

import pytest

from matchengine.client.exchange import BUY, SELL, ExchangeClient, ExchangeReader
from matchengine.cluster.local import LocalCluster
from matchengine.errors import RefusedError
from matchengine.exchange.layout import MAX_BATCH_BYTES

pytestmark = pytest.mark.integration


def new_orders(first, count):
    from matchengine.v1 import exchange_pb2 as pb

    return [
        pb.Command(
            account=1,
            new_order=pb.NewOrder(
                cl_ord_id=number,
                symbol="ACME",
                side=BUY,
                ord_type=pb.ORD_TYPE_LIMIT,
                time_in_force=pb.TIME_IN_FORCE_GTC,
                price="1.00",
                quantity="1",
            ),
        )
        for number in range(first, first + count)
    ]


async def trade(cluster):
    """Orders before, across and after two failures, each executed once."""
    async with ExchangeClient(cluster.addresses) as client, ExchangeReader(cluster.addresses) as reader:
        assert (await client.add_instrument("ACME", "0.01", "1")).instrument == 1
        await client.send(new_orders(1, 10))

        waiting = [await client.submit(new_orders(11 + 10 * n, 10)) for n in range(10)]
        killed = cluster.node_at(client.session.leader)
        killed.kill()
        answers = await asyncio.gather(*waiting)
        assert [r.order_id for a in answers for r in a.reports] == list(range(11, 111))
        killed.start()
        await cluster.caught_up(killed)

        hung = cluster.node_at(client.session.leader)
        hung.freeze()
        reports = await client.send(new_orders(111, 10))
        assert [report.order_id for report in reports] == list(range(111, 121))
        assert cluster.node_at(client.session.leader) is not hung

        depth = await reader.depth("ACME")
        assert [(level.price, level.quantity, level.orders) for level in depth.bids] == [("1.00", "120", 120)]
        await calls_of_every_kind(client, reader)


async def calls_of_every_kind(client, reader):
    assert [r.exec_type for r in await client.new_order("ACME", SELL, "5", "1.00", cl_ord_id=900)][:2] == ["0", "F"]
    assert (await client.new_order("ACME", SELL, "8", "1.50", cl_ord_id=901))[0].leaves_qty == "8"
    assert (await client.reduce("ACME", 901, "3"))[0].leaves_qty == "5"
    assert (await client.replace("ACME", 901, "6", "1.40"))[0].price == "1.40"
    assert (await client.cancel(901))[0].exec_type == "4"
    assert (await client.market_order("ACME", SELL, "2", cl_ord_id=902))[1].last_px == "1.00"
    assert (await reader.order(cl_ord_id=120)).leaves_qty == "1"
    quote = await reader.quote("ACME", SELL, "3")
    assert (quote.amount, quote.sufficient) == ("3.00", True)
    assert [i.symbol for i in (await reader.instruments()).instruments] == ["ACME"]
    with pytest.raises(RefusedError, match="NONE"):
        await reader.depth("NONE")
    with pytest.raises(RefusedError, match="split the batch"):
        await client.submit(bytes(MAX_BATCH_BYTES + 1))
    with pytest.raises(RefusedError, match="from 1 to"):
        await client.submit([])


def test_every_order_once_whatever_happens_to_the_leader(tmp_path):
    async def scenario():
        cluster = LocalCluster(3, tmp_path)
        try:
            await cluster.start()
            await trade(cluster)
        finally:
            await cluster.stop()

    asyncio.run(scenario())
