"""A counter of one's own, plain and replicated: python examples/counter.py"""

import asyncio
import tempfile
from pathlib import Path

from matchengine import Client, Node, NodeConfig


class Counter:
    """Adds up the numbers that it is told; its last three methods make it replicable."""

    total = 0

    def add(self, number):
        self.total += number
        return self.total

    def apply(self, entries):
        return [b"%d" % self.add(int(e.data) if e.data.isdigit() and len(e.data) < 20 else 0) for e in entries]

    def snapshot(self):
        return iter([b"%d" % self.total])

    def restore(self, chunks):
        self.total = int(b"".join(chunks))


async def replicated(folder):
    node = Node(NodeConfig("a", "127.0.0.1:50061", Path(folder), bootstrap=True), Counter())
    await node.start()
    async with Client("127.0.0.1:50061") as client:
        print("replicated:", [int(await client.apply(n)) for n in (b"1", b"2", b"3")])
    await node.stop()


counter = Counter()
print("plain:     ", [counter.add(n) for n in (1, 2, 3)])
with tempfile.TemporaryDirectory() as folder:
    asyncio.run(replicated(folder))
