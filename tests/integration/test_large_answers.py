"""An answer larger than any request, as a sweep through a large book makes it, arrives."""

import asyncio

import pytest

from matchengine import Client, Node, NodeConfig
from matchengine.client import pursuit
from matchengine.cluster.processes import free_addresses

pytestmark = pytest.mark.integration


class Echo:
    """Answers a number with so many bytes."""

    def apply(self, entries):
        return [bytes(int(entry.data)) for entry in entries]

    def snapshot(self):
        return iter(())

    def restore(self, chunks):
        assert not b"".join(chunks)


def test_an_answer_of_any_size_arrives_once(tmp_path, monkeypatch):
    # Node and client share one loop, which a busy machine may need for seconds to carry this: that is no silence.
    monkeypatch.setattr(pursuit, "ATTEMPT_S", 60.0)

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
