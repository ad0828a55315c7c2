"""Sends the Dutch numbers to a cluster of the word tracker as fast as it can: python examples/hammer.py"""

import asyncio
import random
import sys
import time
from typing import Annotated

import cyclopts
import grpc
from num2words import num2words

from matchengine.cli.loop import run
from matchengine.client.calls import may_retry
from matchengine.client.targets import channel_target, leader_options
from matchengine.wire.example_pb2 import AddWordRequest, GetWordsRequest
from matchengine.wire.example_pb2_grpc import ExampleStub

ATTEMPT_S = 5.0  # a node that is stopped neither answers nor breaks off
PATIENCE_S = 60.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
ADDRESSES = "multi:///localhost:50051,localhost:50052,localhost:50053"

AtLeastOne = Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))]


class Hammer:
    """One channel to all nodes; every request is sent until it succeeds."""

    def __init__(self, channel):
        self.stub = ExampleStub(channel)
        self.took = []
        self.retries = 0

    async def until_done(self, call, request):
        deadline, pause = time.monotonic() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            try:
                return await call(request, timeout=ATTEMPT_S, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if not may_retry(error) or time.monotonic() > deadline:
                    raise
            self.retries += 1
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def work(self, words):
        for word in words:
            began = time.perf_counter()
            await self.until_done(self.stub.AddWord, AddWordRequest(word=word))
            self.took.append(time.perf_counter() - began)

    async def best(self):
        return await self.until_done(self.stub.GetWords, GetWordsRequest())

    def report(self, elapsed):
        ordered = sorted(self.took)
        p50, p99 = (1000 * ordered[int(fraction * (len(ordered) - 1))] for fraction in (0.50, 0.99))
        return (
            f"{len(ordered):,} words in {elapsed:.2f} s: {len(ordered) / elapsed:,.0f}/s, "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {self.retries} retries"
        )


async def hammer(target, workers, words):
    options = (*leader_options("Example"), ("grpc.max_reconnect_backoff_ms", 500))
    async with grpc.aio.insecure_channel(channel_target(target), options=options) as channel:
        tool, turns = Hammer(channel), iter(words)
        began = time.perf_counter()
        await asyncio.gather(*(tool.work(turns) for _ in range(workers)))
        print(tool.report(time.perf_counter() - began))
        best = await tool.best()
        print(f"best words at index {best.read_at_index}: {' '.join(best.best_words)}")


def main(*, addresses: str = ADDRESSES, workers: AtLeastOne = 10, count: AtLeastOne = 1999):
    """Add the numbers from 1 to COUNT, written out, and ask for the three longest.

    Parameters
    ----------
    addresses
        host:port of the nodes, separated by commas; multi:/// may stand before them.
    workers
        Requests under way at any time.
    count
        How many numbers to send.

    """
    try:
        run(hammer(addresses, workers, [num2words(number, lang="nl") for number in range(1, count + 1)]))
    except ValueError as error:
        sys.exit(f"hammer: {error}")
    except grpc.aio.AioRpcError as error:
        sys.exit(f"hammer: {error.code().name}: {error.details()}; is there a leader?")


if __name__ == "__main__":
    cyclopts.run(main)
