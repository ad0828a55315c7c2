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
#: A stretch in which the leader is killed is best sent in at least this many batches, so that it has had some of them.
_BATCHES_WITH_KILL: Final = 2 * IN_FLIGHT_AT_KILL


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One batch: messages ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Stretch(msgspec.Struct, frozen=True):
    """Batches that may be under way together.

    ``kill``: the leader is killed in it.  ``handover``: before it, leadership goes to a node on another engine.
    ``book``: afterwards, with every message before it answered and none after it sent, the book is read and compared.
    """

    start: int
    pieces: tuple[Piece, ...]
    kill: bool = False
    book: BookRow | None = None
    handover: bool = False


class Plan(msgspec.Struct, frozen=True):
    """All stretches, in order; together they hold every message once."""

    stretches: tuple[Stretch, ...]

    def pieces(self) -> list[Piece]:
        """All batches in order."""
        return [piece for stretch in self.stretches for piece in stretch.pieces]


class Aim(msgspec.Struct, frozen=True):
    """When to stop a leader that will be killed: within the ``batches`` batches after the sequence ``start``.

    All that has been written then may still be answered, so enough must be unwritten.
    """

    start: int
    batches: int

    def reached(self, acknowledged: int, in_flight: int) -> bool:
        """Whether the leader has had some batches and enough are still to come.

        Best at the first answer; at the latest when so few are left that all of them must stay unanswered.
        """
        answered = acknowledged - self.start
        written = answered + in_flight
        unwritten = self.batches - written
        return unwritten <= IN_FLIGHT_AT_KILL or (answered > 0 and written >= IN_FLIGHT_AT_KILL)


def make_plan(
    workload: Workload, batch: int, fractions: Sequence[float], window: int, *, handover: bool = False
) -> Plan:
    """Cut the workload at book rows and kills; InputError for a kill with too few messages to have in flight.

    The ``handover``, if there is one, is as far from kills as can be.
    """
    points = [math.ceil(fraction * workload.messages) for fraction in sorted(fractions)]
    far = math.ceil(_far_from(fractions) * workload.messages)
    if workload.books:
        stretches = _between_books(workload, points)
    else:
        bounds = [0, *points, workload.messages]
        if handover and far not in bounds:
            bounds = sorted((*bounds, far))
        stretches = [(start, end, start in points, None) for start, end in pairwise(bounds)]
    cut = list(_stretches(stretches, batch, window))
    return Plan(tuple(_with_handover(cut, far) if handover else cut))


def _far_from(fractions: Sequence[float]) -> float:
    """The middle of the widest gap."""
    start, end = max(pairwise([0.0, *sorted(fractions), 1.0]), key=lambda gap: gap[1] - gap[0])
    return (start + end) / 2


def _with_handover(stretches: list[Stretch], position: int) -> list[Stretch]:
    """The same, with a handover before the first stretch from ``position`` on that has messages and no kill."""
    for number, stretch in enumerate(stretches):
        if stretch.start >= position and stretch.pieces and not stretch.kill:
            stretches[number] = msgspec.structs.replace(stretch, handover=True)
            break
    return stretches


_Cut = tuple[int, int, bool, BookRow | None]


def _between_books(workload: Workload, points: list[int]) -> list[_Cut]:
    for least in (_BATCHES_WITH_KILL, IN_FLIGHT_AT_KILL):
        cuts, waiting = _cut_at_books(workload, points, least)
        if not waiting:
            return cuts
    raise InputError(
        f"--kill-leader-at: no {IN_FLIGHT_AT_KILL} messages in a row without a look at the book follow message "
        f"{waiting[0]}, but so many batches must be under way"
    )


def _cut_at_books(workload: Workload, points: list[int], least: int) -> tuple[list[_Cut], list[int]]:
    """The cuts with each kill in the next stretch of ``least`` messages, and the points for which there is none."""
    cuts: list[_Cut] = []
    start, waiting = 0, list(points)
    ends: list[tuple[int, BookRow | None]] = [(row.position, row) for row in workload.books]
    for end, row in [*ends, (workload.messages, None)]:
        kill = bool(waiting) and start >= waiting[0] and end - start >= least
        if kill:
            waiting.pop(0)
        cuts.append((start, end, kill, row))
        start = end
    return cuts, waiting


def _stretches(cuts: list[_Cut], batch: int, window: int) -> Iterator[Stretch]:
    for start, end, kill, row in cuts:
        size = batch
        if kill:
            if end - start < IN_FLIGHT_AT_KILL:
                raise InputError(
                    f"--kill-leader-at: fewer than {IN_FLIGHT_AT_KILL} messages follow message {start}, "
                    "but so many batches must be under way"
                )
            size = max(1, min(batch, (end - start) // max(window, _BATCHES_WITH_KILL)))
        if start < end or row is not None:
            yield Stretch(start, tuple(_pieces(start, end, size)), kill, row)


def _pieces(start: int, end: int, size: int) -> Iterator[Piece]:
    for first in range(start, end, size):
        yield Piece(first, min(first + size, end))
