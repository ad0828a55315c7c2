"""A counter of one's own, alone and replicated: python examples/counter.py"""

import asyncio
import tempfile

from matchengine import Client, Node, NodeConfig


class Counter:
    """Adds up the numbers that it is told."""

    def __init__(self):
        self.total = 0

    def apply(self, entries):
        return [self.add(entry.data) for entry in entries]

    def add(self, data):
        self.total += int(data) if data.isdigit() else 0
        return b"%d" % self.total

    def snapshot(self):
        return iter([b"%d" % self.total])

    def restore(self, chunks):
        self.total = int(b"".join(chunks))


async def main():
    with tempfile.TemporaryDirectory() as folder:
        node = Node(NodeConfig("a", "127.0.0.1:50061", folder, bootstrap=True), Counter())
        await node.start()
        async with Client("127.0.0.1:50061") as client:
            print([await client.apply(number) for number in (b"1", b"2", b"3")])
        await node.stop()


asyncio.run(main())
