"""A node that kills its own process at one step: python suicidal_node.py FOLDER ADDRESS STEP

STEP: start (Raft runs, and nothing here knows it), apply (before the command ``die``), applied (after it), snapshot,
chunk (in the middle of one), end (all of it was sent, and nobody knows whether it was taken), restore, restored, stop,
or none.  It prints ``leads``, then one line per command of its standard input once it is acknowledged; ``!snapshot``
and ``!stop`` are done.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from engine_nodes import TIMING, Journal, leads

from matchengine import NodeConfig
from matchengine.runtime.hashicorp.frames import Kind
from matchengine.runtime.hashicorp.streams import Stream
from matchengine.runtime.node import Node
from matchengine.service import core_services


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Suicidal(Journal):
    def __init__(self, step):
        super().__init__(b"x" * 2_000_000)
        self.step = step

    def apply(self, entries):
        last = any(entry.data == b"die" for entry in entries)
        if last and self.step == "apply":
            die()
        answers = super().apply(entries)
        if last and self.step == "applied":
            die()
        return answers

    def snapshot(self):
        if self.step == "snapshot":
            die()
        for number, chunk in enumerate(super().snapshot()):
            if number == 2 and self.step == "chunk":
                die()
            yield chunk

    def restore(self, chunks):
        if self.step == "restore":
            next(iter(chunks))
            die()
        super().restore(chunks)
        if self.step == "restored":
            die()


def die_at_the_start(node):
    take = node._engine._take
    node._engine._take = lambda kind, body: die() if kind is Kind.READY else take(kind, body)


def die_behind_the_end(_stream):
    die()


async def die_while_stopping(node):
    stop = node._engine.stop
    node._engine.stop = lambda error: (stop(error), die())
    await node.stop()


async def main(folder, address, step):
    config = NodeConfig("a", address, Path(folder), bootstrap=True, timing=TIMING, engine="hashicorp")
    node = Node(config, Suicidal(step), [core_services])
    if step == "start":
        die_at_the_start(node)
    if step == "end":
        Stream.receive = die_behind_the_end  # what comes first is the other half's word on the snapshot
    await node.start()
    await leads(node)
    print("leads", flush=True)
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if command == "!snapshot":
            await node.snapshot()
        elif command == "!stop":
            await die_while_stopping(node)
        else:
            await node.propose(command.encode())
        print(command, flush=True)
    await node.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
