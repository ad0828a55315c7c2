"""At level 0.0 today's program does exactly what the last one without levels did, whatever is in the log."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from play_entries import Played, Request, play

from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.raft.types import Entry
from matchengine.sessions import ENVELOPE, SessionLimits, SessionMachine, SessionStatus, decode_answer
from matchengine.testing.simulator.chance import Chance
from matchengine.testing.simulator.workloads import ExchangeWorkload

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).with_name("play_entries.py")
LIMITS = {"sessions": 6, "answers_per_session": 8, "answer_bytes_per_session": 6_000, "answer_bytes": 20_000}
SECOND_NS = 1_000_000_000
OPEN, COMMAND, CLOSE, KEEP_ALIVE, EXPIRE = range(1, 6)
#: Kinds of later levels among them, which level 0 does not know.
LATER = range(6, 12)
DAMAGED = 0
#: What a client may put into the fields of an envelope or of a command.
BYTES = [0, 1, 2, 3, 4, 7, 8, 16, 127, 255]


class Writer:
    """A log as clients of every kind may fill it: in order, repeated, with gaps, too many, malformed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.chance = Chance(seed)
        self.workload = ExchangeWorkload()
        self.machine = SessionMachine(ExchangeStateMachine(), SessionLimits(**LIMITS))
        self.stamp = 1_700_000_000 * SECOND_NS
        self.entries = []
        #: The open sessions, each with its last sequence and what it has acknowledged.
        self.clients = {}
        self.commands = 0

    def write(self, count):
        for _ in range(count):
            self.stamp += self.random.choice([0, 1, SECOND_NS, -SECOND_NS])
            index, data = len(self.entries) + 1, self._entry()
            self.entries.append((index, self.stamp, data))
            self._learn(data, self.machine.apply([Entry(index, 1, data=data, appended_at=self.stamp)])[0])
        return self.entries

    def _learn(self, data, answer):
        """What a client reads out of its answer."""
        outcome = decode_answer(answer)
        if len(data) < ENVELOPE.size or outcome.status is SessionStatus.MALFORMED:
            return
        _, kind, _, session, sequence, acknowledged = ENVELOPE.unpack_from(data)
        if kind == OPEN and outcome.status is SessionStatus.OK:
            self.clients[outcome.value] = [0, 0]
        elif kind == CLOSE or outcome.status is SessionStatus.UNKNOWN_SESSION:
            self.clients.pop(session, None)
        elif kind == COMMAND and outcome.status is SessionStatus.OK and session in self.clients:
            last, known = self.clients[session]
            self.clients[session] = [max(last, sequence), max(known, min(acknowledged, last))]

    def _entry(self):
        kinds = {OPEN: 20, COMMAND: 400, CLOSE: 3, KEEP_ALIVE: 10, EXPIRE: 1, DAMAGED: 20, **dict.fromkeys(LATER, 1)}
        kind = self.random.choices(list(kinds), list(kinds.values()))[0]
        if kind == DAMAGED:
            return self._damaged(self._command())
        if kind == COMMAND:
            return self._command()
        if kind == OPEN:
            name = bytes(self.random.choices(b"abc\xff", [9, 9, 9, 1], k=self.random.choice([0, 5, 64, 65])))
            return self._envelope(OPEN, self.random.choice([0, self.random.getrandbits(64)])) + name
        return self._envelope(kind, self._session(), 20 * SECOND_NS if kind == EXPIRE else 0)

    def _command(self):
        session = self._session()
        last, known = self.clients.get(session, (0, 0))
        sequence = max(0, last + self.random.choices([1, 0, -1, -5, 2], [80, 8, 5, 4, 3])[0])
        acknowledged = self.random.choices([known, sequence - 1, sequence + 1], [80, 19, 1])[0]
        self.commands += 1
        # Gateways stamp the least version that serves, and level 0 knows the first one only.
        payload = b"\x01" + self.workload.command(self.chance, 1, self.commands)[1:]
        if self.random.random() < 0.2:
            payload = self._damaged(payload, len(payload))
        return self._envelope(COMMAND, session, sequence, max(0, acknowledged)) + payload

    def _session(self):
        return self.random.choice([*self.clients, *self.clients, *self.clients, 0, 999_999])

    def _envelope(self, kind, session=0, sequence=0, acknowledged=0):
        return ENVELOPE.pack(1, kind, 0, session, sequence, acknowledged)

    def _damaged(self, data, until=ENVELOPE.size):
        """A byte behind the version, before ``until``, is another one; or the end is missing."""
        if self.random.random() < 0.2:
            return data[: self.random.randrange(1, len(data))]
        damaged = bytearray(data)
        damaged[self.random.randrange(1, until)] = self.random.choice(BYTES)
        return bytes(damaged)


def old(program, request):
    """What the older program makes of it."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": str(program)},
        input=msgspec.msgpack.encode(request),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.msgpack.decode(done.stdout, type=Played)


def assert_equal(entries, ours, theirs):
    for (index, _, data), our, their in zip(entries, ours.answers, theirs.answers, strict=True):
        assert our == their, f"entry {index}: {data.hex()}"
    assert ours.state_hash == theirs.state_hash


def test_every_entry_has_the_answer_of_the_older_program_and_either_restores_the_others_snapshot(old_program):
    entries = Writer(1).write(6_000)
    head, tail = entries[:3_000], entries[3_000:]
    ours, theirs = play(Request(LIMITS, b"", head)), old(old_program, Request(LIMITS, b"", head))
    assert_equal(head, ours, theirs)
    crossed = play(Request(LIMITS, theirs.snapshot, tail)), old(old_program, Request(LIMITS, ours.snapshot, tail))
    assert_equal(tail, *crossed)
    seen = Counter(decode_answer(answer).status for answer in ours.answers + crossed[0].answers)
    statuses = [status for status in SessionStatus if status <= SessionStatus.MALFORMED]
    assert all(seen[status] >= 20 for status in statuses), seen
