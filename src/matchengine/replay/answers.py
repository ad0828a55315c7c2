"""Packed answers, kept as bytes while the clock runs and taken apart afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from matchengine.exchange.layout import ANSWER_HEADER, KIND_ORDERS, REPORT, VERSION
from matchengine.exchange.types import ExecType
from matchengine.replay.errors import AnswerError


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to one batch; ``start`` is the position of the batch's first message."""

    start: int
    packed: bytes


def reports_of(answers: Iterable[Answer]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """All reports in execution order, each with the position of its message."""
    for answer in answers:
        packed, start = answer.packed, answer.start
        _check(packed)
        for report in REPORT.iter_unpack(memoryview(packed)[ANSWER_HEADER.size :]):
            yield start + report[4], report


def _check(packed: bytes) -> None:
    if len(packed) < ANSWER_HEADER.size:
        raise AnswerError(f"answer: {len(packed)} bytes are fewer than its header of {ANSWER_HEADER.size}")
    version, kind, _, count, _ = ANSWER_HEADER.unpack_from(packed)
    if (version, kind) != (VERSION, KIND_ORDERS):
        raise AnswerError(f"answer: version {version}, kind {kind} is not version {VERSION}, kind {KIND_ORDERS}")
    if len(packed) != ANSWER_HEADER.size + count * REPORT.size:
        raise AnswerError(f"answer: {len(packed)} bytes do not hold {count} reports of {REPORT.size}")


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One fill, seen from both sides; ``command`` is the position of the message that caused it."""

    command: int
    taker: int
    maker: int
    price: int
    quantity: int


def trades_of(answers: Iterable[Answer]) -> Iterator[Trade]:
    """Every pair of reports (the taker's, then the maker's) that shares a trade id."""
    taker: tuple[int, ...] | None = None
    for command, report in reports_of(answers):
        if report[0] != ExecType.TRADE:
            continue
        if taker is None:
            taker = report
        elif taker[10] != report[10]:
            raise AnswerError(f"answer: trade {taker[10]} has no maker's report")
        else:
            yield Trade(command, taker[8], report[8], report[12], report[13])
            taker = None
