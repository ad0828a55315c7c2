"""How an answer becomes responses of bounded size, or the one response that a request without slices allows.

Rules of this file: a slice costs its own size, never the answer's, so that whoever writes one after the other lets the
node's other work go on in between; nothing of an answer is joined unless one response has to hold all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from matchengine.answers import MAX_MESSAGE_BYTES, Answer, pieces, size_of
from matchengine.service.errors import InvalidArgumentError, TooLargeError

#: A slice of bytes.
SLICE_BYTES: Final = 256 * 1024
#: The largest message that gRPC clients take unless they are told otherwise.
MAX_UNARY_BYTES: Final = 4 * 1024 * 1024
#: The largest message that nodes send.
MAX_WHOLE_BYTES: Final = MAX_MESSAGE_BYTES


class Slice(NamedTuple):
    """``data`` is at ``position``; ``more`` when others follow.  Positions count units of the same size."""

    data: bytes
    position: int
    more: bool


class Sliceable(Protocol):
    """A request whose answer may come in slices."""

    sequence: int
    slices: bool
    position: int


def slices(
    request: Sliceable, answer: Answer, *, header: int = 0, unit: int = 1, size: int = SLICE_BYTES
) -> Iterator[Slice]:
    """The answer from the request's position on, without its ``header``, in slices of ``size`` units.

    Positions count units of ``unit`` bytes behind the header.  There is one slice at least, which may be empty.
    Raises InvalidArgumentError for a position behind the end.
    """
    position, end = request.position, (size_of(answer) - header) // unit
    if position > end:
        raise InvalidArgumentError(f"position: {position} is behind the end of the answer, at {end}")
    if position == end:
        yield Slice(b"", position, more=False)
    for data in pieces(answer, size * unit, header + position * unit):
        behind = position + len(data) // unit
        yield Slice(data, position, behind < end)
        position = behind


def require_fits(sequence: int, size: int, limit: int) -> None:
    """Raise TooLargeError for an answer of ``size`` bytes that one response of ``limit`` bytes has to hold."""
    if size > limit:
        raise TooLargeError(
            f"sequence: {sequence} took effect, but its answer of {size} bytes is above {limit}, the limit of one "
            "response; ask for it in slices, in a stream, with the same sequence"
        )
