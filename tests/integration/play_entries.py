"""Entries through the exchange of whatever program is imported: play_entries.py < REQUEST > PLAYED, in msgpack."""

from __future__ import annotations

import sys

import msgspec

from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.raft.types import Entry
from matchengine.sessions import SessionLimits, SessionMachine


class Request(msgspec.Struct):
    """Entries as (index, stamp, data), behind a snapshot if there is one."""

    limits: dict[str, int]
    snapshot: bytes
    entries: list[tuple[int, int, bytes]]


class Played(msgspec.Struct):
    """One answer per entry, and where the machine stands then."""

    answers: list[bytes]
    state_hash: bytes
    snapshot: bytes


def play(request: Request) -> Played:
    machine = SessionMachine(ExchangeStateMachine(), SessionLimits(**request.limits))
    if request.snapshot:
        machine.restore(iter([request.snapshot]))
    entries = [Entry(index, 1, data=data, appended_at=stamp) for index, stamp, data in request.entries]
    answers = [answer if isinstance(answer, bytes) else b"".join(answer) for answer in machine.apply(entries)]
    return Played(answers, machine.state_hash(), b"".join(machine.snapshot()))


if __name__ == "__main__":
    asked = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.msgpack.encode(play(asked)))
