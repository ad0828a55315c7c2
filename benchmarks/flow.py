"""A recorded flow, again and again through one cluster: every pass on its own instrument and account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from matchengine.client.exchange import ExchangeClient
from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import BATCH_HEADER, COMMAND, KIND_ORDERS, VERSION
from matchengine.exchange.snapshot import ORDER, SnapshotReader
from matchengine.replay.commands import cancel
from matchengine.replay.flash import load_flash
from matchengine.replay.workload import Workload
from matchengine.v1.exchange_pb2 import SubmitResponse
from matchengine.v1.machine_pb2 import SESSION_STATUS_OK

BATCH = 1000
_INSTRUMENT_OFFSET = 4
_ACCOUNT_OFFSET = 8


def load_normal(data: Path) -> bytes | None:
    """The packed commands of the published flow; says so and returns None where the file is missing."""
    workload = _load(data)
    return None if workload is None else workload.commands


def load_normal_closed(data: Path) -> bytes | None:
    """As :func:`load_normal`, and at the end every order that the flow leaves open is cancelled."""
    workload = _load(data)
    return None if workload is None else workload.commands + _cancels(workload)


def _load(data: Path) -> Workload | None:
    path = data / "flash" / "normal.bin.xz"
    if path.exists():
        return load_flash(path).workload
    print(f"skipped: {path} is missing")
    return None


def _cancels(workload: Workload) -> bytes:
    engine = MatchingEngine()
    engine.execute(workload.instrument_batch(), 0)
    for start in range(0, workload.messages, BATCH):
        engine.execute(workload.batch(start, min(start + BATCH, workload.messages)), 0)
    blocks = (block for _, block in SnapshotReader(engine.snapshot()).blocks())
    return b"".join(cancel(cl_ord_id - 1) for block in blocks for _, cl_ord_id, *_ in ORDER.iter_unpack(block))


def batches_of_pass(commands: bytes, number: int) -> Iterator[bytes]:
    """All batches of pass ``number``, on the instrument and account of that number (below 65,536)."""
    patched = bytearray(commands)
    count = len(commands) // COMMAND.size
    for offset in (_INSTRUMENT_OFFSET, _ACCOUNT_OFFSET):
        for byte in range(4):
            patched[offset + byte :: COMMAND.size] = bytes([number >> 8 * byte & 255]) * count
    for start in range(0, count, BATCH):
        body = bytes(patched[start * COMMAND.size : (start + BATCH) * COMMAND.size])
        yield BATCH_HEADER.pack(VERSION, KIND_ORDERS, 0, len(body) // COMMAND.size) + body


async def send_pass(client: ExchangeClient, commands: bytes, number: int) -> int:
    """Send one pass and wait for its last answer; returns the number of messages."""
    created = await client.add_instrument(f"PASS{number}", "1", "1")
    if created.instrument != number:
        raise SystemExit(f"pass {number}: instrument {created.instrument} {created.reason}")
    last: asyncio.Future[SubmitResponse] | None = None
    for batch in batches_of_pass(commands, number):
        last = await client.submit(batch)
    if last is not None and (await last).status != SESSION_STATUS_OK:
        raise SystemExit(f"pass {number}: {last.result().status}")
    return len(commands) // COMMAND.size
