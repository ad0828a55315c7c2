"""What is sent in which batches, where the book is looked at, and where the leader is killed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from matchengine.replay.errors import InputError
from matchengine.replay.workload import BookRow, Workload

#: This many batches must be unanswered when the leader is killed.
IN_FLIGHT_AT_KILL: Final = 8
#: A stretch in which the leader is killed is sent in at least this many batches.
_BATCHES_WITH_KILL: Final = 2 * IN_FLIGHT_AT_KILL


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One batch: messages ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Stretch(msgspec.Struct, frozen=True):
    """Batches that may be under way together.

    ``kill``: the leader is killed in it.  ``book``: afterwards, with every message before it
    answered and none after it sent, the book is read and compared.
    """

    start: int
    pieces: tuple[Piece, ...]
    kill: bool = False
    book: BookRow | None = None


class Plan(msgspec.Struct, frozen=True):
    """All stretches, in order; together they hold every message once."""

    stretches: tuple[Stretch, ...]

    def pieces(self) -> list[Piece]:
        """All batches in order."""
        return [piece for stretch in self.stretches for piece in stretch.pieces]


def make_plan(workload: Workload, batch: int, fractions: Sequence[float], window: int) -> Plan:
    """Cut the workload at book rows and kills; InputError for a kill with too few messages to have in flight."""
    points = [math.ceil(fraction * workload.messages) for fraction in sorted(fractions)]
    if workload.books:
        stretches = _between_books(workload, points)
    else:
        bounds = [0, *points, workload.messages]
        stretches = [(start, end, start in points, None) for start, end in pairwise(bounds)]
    return Plan(tuple(_stretches(stretches, batch, window)))


_Cut = tuple[int, int, bool, BookRow | None]


def _between_books(workload: Workload, points: list[int]) -> list[_Cut]:
    cuts: list[_Cut] = []
    start, waiting = 0, list(points)
    ends: list[tuple[int, BookRow | None]] = [(row.position, row) for row in workload.books]
    for end, row in [*ends, (workload.messages, None)]:
        kill = bool(waiting) and start >= waiting[0] and end - start >= _BATCHES_WITH_KILL
        if kill:
            waiting.pop(0)
        cuts.append((start, end, kill, row))
        start = end
    if waiting:
        raise InputError(
            f"kill: no {_BATCHES_WITH_KILL} messages in a row without a look at the book follow message {waiting[0]}"
        )
    return cuts


def _stretches(cuts: list[_Cut], batch: int, window: int) -> Iterator[Stretch]:
    for start, end, kill, row in cuts:
        size = batch
        if kill:
            if end - start < _BATCHES_WITH_KILL:
                raise InputError(f"kill: fewer than {_BATCHES_WITH_KILL} messages follow message {start}")
            size = max(1, min(batch, (end - start) // max(window, _BATCHES_WITH_KILL)))
        if start < end or row is not None:
            yield Stretch(start, tuple(_pieces(start, end, size)), kill, row)


def _pieces(start: int, end: int, size: int) -> Iterator[Piece]:
    for first in range(start, end, size):
        yield Piece(first, min(first + size, end))
