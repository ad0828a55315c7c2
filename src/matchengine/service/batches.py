"""Rules on packed batches, checked before anything gets into the log."""

from __future__ import annotations

from matchengine.exchange.layout import BATCH_HEADER, COMMAND, KIND_ORDERS, MAX_BATCH_BYTES, VERSION
from matchengine.service.checks import require_at_most
from matchengine.service.errors import InvalidArgumentError

_unpack_header = BATCH_HEADER.unpack_from


def check_size(field: str, size: int) -> None:
    """A batch is one log entry, and an entry has a largest size."""
    require_at_most(field, size, MAX_BATCH_BYTES, "bytes", "; split the batch")


def check_orders(batch: bytes) -> None:
    """Raise InvalidArgumentError unless ``batch`` is a well-formed batch of orders of our layout version."""
    check_size("packed", len(batch))
    if len(batch) < BATCH_HEADER.size:
        raise InvalidArgumentError(f"packed: {len(batch)} bytes are fewer than the {BATCH_HEADER.size} of the header")
    version, kind, reserved, count = _unpack_header(batch)
    if version != VERSION or kind != KIND_ORDERS or reserved:
        _refuse_header(version, kind, reserved)
    if len(batch) != BATCH_HEADER.size + count * COMMAND.size:
        raise InvalidArgumentError(
            f"packed: {len(batch)} bytes are not a header of {BATCH_HEADER.size} and {count} commands of {COMMAND.size}"
        )


def check_layout(command: bytes) -> None:
    """Keep batches of a newer layout out of the log: every replica that is too old for one would stop."""
    if command and command[0] > VERSION:
        raise InvalidArgumentError(f"command: layout version {command[0]} is above {VERSION}, the newest known here")


def _refuse_header(version: int, kind: int, reserved: int) -> None:
    if version > VERSION:
        raise InvalidArgumentError(f"packed: layout version {version} is above {VERSION}, the newest known here")
    if version != VERSION:
        raise InvalidArgumentError(f"packed: layout version {version} is not {VERSION}")
    if kind != KIND_ORDERS:
        raise InvalidArgumentError(f"packed: kind {kind} is not {KIND_ORDERS}, a batch of orders")
    raise InvalidArgumentError(f"packed: reserved {reserved} is not 0")
