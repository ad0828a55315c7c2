"""Answers in chunks: cut anywhere, held without a copy, the same bytes on every replica."""

from __future__ import annotations

import random

import pytest

from matchengine.answers import CHUNK_BYTES, behind, chunks_of, from_chunks, pieces, size_of, whole
from matchengine.raft.types import Entry, EntryType
from matchengine.sessions import ANSWER, SessionMachine, command_envelope, decode_answer, encode_answer, open_envelope
from matchengine.sessions.envelopes import SessionStatus


def chunked(data: bytes, rng: random.Random) -> bytes | tuple[bytes, ...]:
    """The same bytes with other bounds, empty chunks among them."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
    return from_chunks(tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)))


@pytest.mark.parametrize("seed", range(200))
def test_pieces_do_not_depend_on_the_bounds_of_chunks(seed):
    rng = random.Random(seed)
    data = rng.randbytes(rng.randrange(40))
    size, start = rng.randrange(1, 12), rng.randrange(len(data) + 3)
    answer = chunked(data, rng)
    assert list(pieces(answer, size, start)) == [data[at : at + size] for at in range(start, len(data), size)]
    assert size_of(answer) == len(data) and whole(answer) == data == b"".join(chunks_of(answer))


def test_what_lies_behind_a_header_has_no_header():
    assert behind(b"abcdef", 2) == b"cdef" and behind((b"abc", b"de"), 2) == (b"c", b"de")


def test_a_large_payload_is_held_as_it_is():
    payload = bytes(CHUNK_BYTES + 1)
    answer = encode_answer(SessionStatus.OK, 7, payload)
    assert answer[1] is payload and len(answer[0]) == ANSWER.size
    assert isinstance(encode_answer(SessionStatus.OK, 7, payload[1:]), bytes)
    decoded = decode_answer(answer)
    assert (decoded.status, decoded.value, whole(decoded.payload)) == (SessionStatus.OK, 7, payload)


class Sweeps:
    """Answers a number with so many different bytes."""

    def apply(self, entries):
        return [random.Random(1).randbytes(int(entry.data)) for entry in entries]

    def snapshot(self):
        return iter(())

    def restore(self, chunks):
        assert not b"".join(chunks)


class SweepsInSteps(Sweeps):
    """The same, in chunks with bounds of its own."""

    def begin(self, entry):
        self.chunks = tuple(pieces(self.apply([entry])[0], 700_001))
        return self

    def step(self):
        return self.chunks


def run(machine: SessionMachine, index: int, data: bytes) -> tuple[bytes, ...]:
    return machine.begin(Entry(index, 1, EntryType.COMMAND, data)).step()


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES, 3 * CHUNK_BYTES + 17])
def test_replicas_that_executed_or_restored_hold_the_same_bytes(size):
    machines = [SessionMachine(Sweeps()), SessionMachine(SweepsInSteps())]
    for machine in machines:
        run(machine, 1, open_envelope())
        run(machine, 2, command_envelope(1, 1, 0, b"%d" % size))
    snapshots = [list(machine.snapshot()) for machine in machines]
    assert snapshots[0] == snapshots[1] and max(map(len, snapshots[0])) < CHUNK_BYTES + 100
    restored = SessionMachine(Sweeps())
    restored.restore(snapshots[1])
    assert list(restored.snapshot()) == snapshots[0]
    again = [whole(from_chunks(run(m, 3, command_envelope(1, 1, 0, b"0")))) for m in (*machines, restored)]
    assert again[0] == again[1] == again[2] and len(again[0]) == ANSWER.size + size
    assert max(map(len, run(restored, 4, command_envelope(1, 1, 0, b"0")))) <= CHUNK_BYTES
    assert machines[0].apply([Entry(5, 1, EntryType.COMMAND, command_envelope(1, 1, 0, b"0"))]) == [again[0]]


def test_an_acknowledged_answer_frees_what_it_held():
    machine = SessionMachine(SweepsInSteps())
    run(machine, 1, open_envelope())
    run(machine, 2, command_envelope(1, 1, 0, b"3000000"))
    assert machine._table.answer_bytes == 3_000_000 + ANSWER.size
    run(machine, 3, command_envelope(1, 2, 1, b"3"))
    assert machine._table.answer_bytes == 3 + ANSWER.size
