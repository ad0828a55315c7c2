"""At level 0 the machine behaves byte for byte as programs before feature levels did.

The digests were made by the machine of commit 2d6f9aa, the last one without levels, over the logs of this file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from random import Random

import pytest

from matchengine.raft.types import Entry
from matchengine.sessions import ENVELOPE, SessionLimits, SessionMachine

ENTRIES = 600
#: Small enough that every bound is met often.
LIMITS = SessionLimits(sessions=6, answers_per_session=4, answer_bytes_per_session=300, answer_bytes=700)


class Echo:
    """Answers with the command, its index and its time; remembers how much it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def apply(self, entries: Sequence[Entry]) -> Sequence[bytes]:
        self.seen += sum(len(entry.data) for entry in entries)
        return [b"%d@%d:%b" % (entry.index, entry.appended_at, entry.data) for entry in entries]

    def snapshot(self) -> Iterator[bytes]:
        return iter((b"%d" % self.seen,))

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = int(b"".join(chunks))


def log_of(seed: int) -> Iterator[Entry]:
    """Envelopes of every kind, most of them sensible, some of them not; of Random only what is the same for ever."""
    draw = Random(seed).random

    def below(limit: int) -> int:
        return int(draw() * limit)

    opened = [0]
    index = now = 0
    numbers: dict[int, int] = {}
    for _ in range(ENTRIES):
        index += 1 + below(3)
        now += below(200) - 20
        kind = (1, 1, 1, 3, 4, 5, below(256), *[2] * 30)[below(37)]
        session = opened[below(len(opened))] if below(20) else below(2**32)
        if kind == 1:
            opened = [*opened[-3:], index]
            fields = (1, 1, 0, below(3) * below(2**32), 0, below(2)), b"name %d" % below(3) * (1 + below(12))
        elif kind == 2:
            numbers[session] = sequence = max(0, numbers.get(session, 0) + (1, 1, 1, 1, 0, -1, -2)[below(7)])
            acknowledged = max(0, sequence - below(8))
            fields = (1, 2, below(30) == 7, session, sequence + below(12) // 11, acknowledged), bytes(below(160))
        elif kind == 5:
            fields = (1, 5, 0, session, 2000 + below(4000), 0), b"ignored" * below(2)
        else:
            fields = (1, kind, 0, session, below(4), below(4)), bytes(below(4))
        data = ENVELOPE.pack(*fields[0]) + fields[1]
        if below(40) == 1:
            data = data[: below(30)]
        yield Entry(index, 1 + index // 100, data=data, appended_at=max(0, now))


def digest_of(seed: int) -> str:
    """Of all answers, and of the snapshots taken now and then, from which the machine goes on."""
    machine = SessionMachine(Echo(), LIMITS)
    digest = hashlib.sha256()
    for number, entry in enumerate(log_of(seed)):
        (answer,) = machine.apply((entry,))
        digest.update(len(answer).to_bytes(4, "little") + answer)
        if number % 50 == seed % 50:
            chunks = list(machine.snapshot())
            digest.update(b"".join(chunks))
            machine = SessionMachine(Echo(), LIMITS)
            machine.restore(chunks)
    return digest.hexdigest()[:16]


GOLDEN = {
    0: "f9bdebc297474c8d",
    1: "fc6c0ac101857d6c",
    2: "bc258c4600b08cd1",
    3: "ca9b9e7874f5e3d2",
    4: "79e096f4e67e029a",
    5: "2a6f2a1b8ecbb857",
    6: "58fb6149e8a0cf3d",
    7: "622ad323174d678c",
    8: "79e995cd968591cb",
    9: "9cd210a7327f50af",
    10: "1cda6bf31193e088",
    11: "660065d45f56b861",
    12: "cc7cfc915c9af164",
    13: "2f432883eabba5bc",
    14: "33ea1d1202158d1e",
    15: "f25d9f7c5a76330f",
    16: "984ae2c845bfc234",
    17: "ffeea951fb6bc1bf",
    18: "78536dcd92ea4dab",
    19: "bc60b56f647e74a1",
    20: "72a11d395f895de4",
    21: "d5392054d9adba80",
    22: "830914acb19a445f",
    23: "43c54344b7414eb2",
}


@pytest.mark.parametrize(("seed", "digest"), GOLDEN.items())
def test_answers_and_snapshots_are_those_of_programs_before_levels(seed, digest):
    assert digest_of(seed) == digest


def test_the_logs_meet_every_status():
    machine = SessionMachine(Echo(), LIMITS)
    statuses = {machine.apply((entry,))[0][1] for entry in log_of(0)}
    assert statuses == {1, 2, 3, 4, 5, 6, 7}
