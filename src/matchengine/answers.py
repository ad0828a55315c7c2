"""Answers of any size: bytes, or chunks that a node passes on without ever joining them.

The bounds of chunks mean nothing and may differ between replicas; the bytes do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

#: Small answers are bytes, as nearly all are; a large one is the tuple of its chunks.
Answer: TypeAlias = bytes | tuple[bytes, ...]

#: Chunks are at most about this large, and what is not larger is not divided.
CHUNK_BYTES: Final = 1024 * 1024
#: The largest answer that fits one message between nodes and clients.
MAX_MESSAGE_BYTES: Final = 1024 * 1024 * 1024


def from_chunks(chunks: tuple[bytes, ...]) -> Answer:
    """The answer that these chunks are."""
    return chunks[0] if len(chunks) == 1 else chunks


def chunks_of(answer: Answer) -> tuple[bytes, ...]:
    """The chunks of an answer."""
    return (answer,) if isinstance(answer, bytes) else answer


def size_of(answer: Answer) -> int:
    """Length in bytes."""
    return len(answer) if isinstance(answer, bytes) else sum(map(len, answer))


def whole(answer: Answer) -> bytes:
    """All of it in one piece: for what is known to be small, or where one message has to hold it."""
    return answer if isinstance(answer, bytes) else b"".join(answer)


def head(answer: Answer, size: int) -> bytes:
    """Its first ``size`` bytes, or fewer if there are no more."""
    return answer[:size] if isinstance(answer, bytes) else next(pieces(answer, size), b"")


def behind(answer: Answer, header: int) -> Answer:
    """The answer without its first ``header`` bytes, which its first chunk holds."""
    return answer[header:] if isinstance(answer, bytes) else (answer[0][header:], *answer[1:])


def pieces(answer: Answer, size: int, start: int = 0) -> Iterator[bytes]:
    """The bytes from ``start`` on, in pieces of ``size`` bytes, the last of which may be shorter.

    The pieces do not depend on the bounds of chunks.  Making one costs its own length, not the answer's.
    """
    parts: list[bytes] = []
    missing = size
    for chunk in chunks_of(answer):
        if start >= len(chunk):
            start -= len(chunk)
            continue
        for at in _cuts(start, len(chunk), missing, size):
            part = chunk[start:at]
            parts.append(part)
            missing -= len(part)
            start = at
            if not missing:
                yield b"".join(parts)
                parts, missing = [], size
        start = 0
    if parts:
        yield b"".join(parts)


def _cuts(start: int, end: int, first: int, size: int) -> Iterator[int]:
    """Where to cut ``start`` to ``end``: after ``first`` bytes, then every ``size``, and at the end."""
    yield from range(start + first, end, size)
    yield end
