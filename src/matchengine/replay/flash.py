"""The binary streams of flash1-dev's matching-engine benchmark: loader, translation, report lines.

A 16-byte header, then 40-byte records.  A modify is always cancel and re-insert: it never keeps its
place, and its quantity is what the order has left from now on.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import Final

import msgspec

from matchengine.exchange.types import (
    MAX_INT64,
    ExecType,
    Reason,
    Side,
)
from matchengine.replay.answers import Answer, reports_of
from matchengine.replay.commands import MAX_UINT64, cancel, limit_order, reenter
from matchengine.replay.errors import InputError
from matchengine.replay.reports_file import ReportsFile
from matchengine.replay.source import read_recording
from matchengine.replay.workload import Workload

MAGIC: Final = 0x4D4542575F303031
VERSION: Final = 1
HEADER: Final = Struct("<QII")
#: type, side, ioc, pad, quantity, seq, order id, price in ticks, reserved
RECORD: Final = Struct("<BBBBIQQqq")

_NEW, _CANCEL, _MODIFY = 0, 1, 2
_SIDES: Final = (Side.BUY, Side.SELL)
_LINES_PER_WRITE: Final = 4096


class FlashRecording(msgspec.Struct, frozen=True):
    """A loaded stream: the workload, and what report lines need to know of each message."""

    workload: Workload
    sequences: array[int]
    types: bytes


class FlashOutcome(msgspec.Struct, frozen=True):
    """Number of trades, and the digest of the report stream."""

    trades: int
    sha256: str


def load_flash(path: Path) -> FlashRecording:
    """Read ``path`` (``.bin`` or ``.bin.xz``); raises InputError for anything that breaks a rule of the format."""
    content = read_recording(path)
    _check_header(path, content)
    sequences, commands = array("Q"), []
    previous = -1
    for index, record in enumerate(RECORD.iter_unpack(memoryview(content)[HEADER.size :])):
        problem = _problem(record, previous)
        if problem:
            raise InputError(f"{path}: offset {HEADER.size + index * RECORD.size}: {problem}")
        previous = record[5]
        sequences.append(previous)
        commands.append(_command(record))
    types = content[HEADER.size :: RECORD.size]
    return FlashRecording(Workload("FLASH", 0, b"".join(commands)), sequences, types)


def _check_header(path: Path, content: bytes) -> None:
    if len(content) < HEADER.size:
        raise InputError(f"{path}: {len(content)} bytes are fewer than the header of {HEADER.size}")
    magic, version, count = HEADER.unpack_from(content)
    if magic != MAGIC:
        raise InputError(f"{path}: offset 0: magic {magic:#018x} is not {MAGIC:#018x}")
    if version != VERSION:
        raise InputError(f"{path}: offset 8: version {version} is not {VERSION}")
    size = HEADER.size + count * RECORD.size
    if len(content) != size:
        raise InputError(f"{path}: offset 12: count {count} asks for {size} bytes; the file holds {len(content)}")


_Record = tuple[int, ...]


def _problem(record: _Record, previous: int) -> str:
    """What rule the record breaks, or ``""``."""
    kind, side, ioc, _, quantity, seq, order_id, price, _ = record
    if kind > _MODIFY:
        return f"type {kind} is none of 0 (new), 1 (cancel), 2 (modify)"
    if side > 1:
        return f"side {side} is neither 0 (buy) nor 1 (sell)"
    if ioc > 1:
        return f"ioc {ioc} is neither 0 nor 1"
    if seq <= previous:
        return f"seq {seq} is not above {previous}, the one before it"
    if kind == _NEW and order_id == MAX_UINT64:
        return f"order id {order_id} of a new order is not below {MAX_UINT64}"
    if kind != _CANCEL and quantity == 0:
        return "qty 0 is not above 0"
    if kind != _CANCEL and not 0 < price <= MAX_INT64:
        return f"price {price} is not above 0"
    return ""


def _command(record: _Record) -> bytes:
    """The packed command."""
    kind, side, ioc, _, quantity, _, order_id, price, _ = record
    if kind == _NEW:
        return limit_order(order_id, _SIDES[side], price, quantity, ioc=bool(ioc))
    if kind == _CANCEL:
        return cancel(order_id)
    return reenter(order_id, price, quantity)


def report_lines(recording: FlashRecording, answers: Iterable[Answer]) -> Iterator[str]:
    """The report stream, in its canonical order: by seq, then by line type, then as it happened.

    Only a modify that trades needs moving: its own line comes after its trades.
    """
    held: list[str] = []
    held_command = -1
    taker = 0
    sequences, types = recording.sequences, recording.types
    for command, report in reports_of(answers):
        if held and command != held_command:
            yield held.pop()
        seq, exec_type = sequences[command], report[0]
        if exec_type == ExecType.TRADE:
            if taker:
                yield f"1,{seq},{report[12]},{report[13]},{report[8] - 1},{taker - 1}"
                taker = 0
            else:
                taker = report[8]
        elif exec_type == ExecType.NEW:
            yield f"0,{seq},{report[2] - 1},{report[8] - 1},{report[11]},{report[14]}"
        elif exec_type == ExecType.CANCELED:
            yield f"2,{seq},{report[2] - 1},{report[8] - 1},{report[11]}"
        elif exec_type == ExecType.REPLACED:
            held.append(f"3,{seq},{report[2] - 1},{report[8] - 1},{report[11]},{report[14]}")
            held_command = command
        elif exec_type == ExecType.CANCEL_REJECTED:
            yield f"{4 if types[command] == _CANCEL else 5},{seq},{report[9] - 1 & MAX_UINT64}"
        else:
            raise InputError(f"seq {seq}: rejected ({Reason(report[3]).name}); the format has no line for that")
    yield from held


def judge_flash(recording: FlashRecording, answers: Iterable[Answer], reports: ReportsFile | None) -> FlashOutcome:
    """Count the trades, take the digest, and write the lines to ``reports`` if it is given."""
    digest, trades, first = hashlib.sha256(), 0, True
    for lines in _chunks(report_lines(recording, answers)):
        trades += sum(line.startswith("1,") for line in lines)
        text = ("" if first else "\n") + "\n".join(lines)
        first = False
        digest.update(text.encode())
        if reports is not None:
            reports.write(text)
    return FlashOutcome(trades, digest.hexdigest())


def _chunks(lines: Iterator[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == _LINES_PER_WRITE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
