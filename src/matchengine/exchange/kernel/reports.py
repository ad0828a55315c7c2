"""Packed reports, gathered in chunks."""

from __future__ import annotations

from typing import Final, final

from librt.vecs import extend, vec
from mypy_extensions import i64

from matchengine.exchange.kernel.codes import LOW_32

#: 1 MiB, the size of the largest chunk.
_MOST_WORDS: Final = 131072
_HEADER_WORDS: Final = 2
#: At most four reports are written from one call of :meth:`Reports.make_room` to the next.
_MARGIN: Final = 44


@final
class Reports:
    """The answer to a batch while it grows: a header, then records of 88 bytes."""

    def __init__(self) -> None:
        #: The chunk that is being filled, in words of 8 bytes.
        self.words: vec[i64] = vec[i64]([0] * 1024)
        self.used: i64 = 0
        self.room: i64 = 1024 - _MARGIN
        self.chunks: list[bytes] = []
        self.count: i64 = 0
        #: The position of the command under way, where a report has it.
        self.command: i64 = 0

    def begin(self, time: i64) -> None:
        """Begin an answer: layout version 1, kind 1, the count still missing."""
        self.chunks = []
        self.count = 0
        self.words[0] = 0x0101
        self.words[1] = time
        self.used = 2

    def write(
        self, word: i64, instrument: i64, account: i64, order_id: i64, cl_ord_id: i64, orig_cl_ord_id: i64,
        trade_id: i64, price: i64, last_px: i64, last_qty: i64, leaves: i64, cum: i64,
    ) -> None:  # fmt: skip
        """Add a report; ``word`` is exec_type | ord_status << 8 | side << 16 | reason << 24."""
        words, at = self.words, self.used
        words[at] = word | self.command
        words[at + 1] = (instrument & LOW_32) | (account << 32)
        words[at + 2] = order_id
        words[at + 3] = cl_ord_id
        words[at + 4] = orig_cl_ord_id
        words[at + 5] = trade_id
        words[at + 6] = price
        words[at + 7] = last_px
        words[at + 8] = last_qty
        words[at + 9] = leaves
        words[at + 10] = cum
        self.used = at + 11
        self.count += 1

    def make_room(self) -> None:
        """See that four more reports fit: grow, or begin another chunk."""
        if self.used <= self.room:
            return
        if len(self.words) == _MOST_WORDS:
            self._close()
        else:
            self.words = extend(self.words, self.words)
            self.room = len(self.words) - _MARGIN

    def _close(self) -> None:
        start: i64 = 0
        if not self.chunks:
            # The header becomes a chunk of its own: its count is not known before the end.
            self.chunks.append(memoryview(self.words)[:_HEADER_WORDS].tobytes())
            start = _HEADER_WORDS
        self.chunks.append(memoryview(self.words)[start : self.used].tobytes())
        self.used = 0

    def finish(self) -> tuple[bytes, ...]:
        """The whole answer in chunks of at most 1 MiB."""
        if not self.chunks:
            self.words[0] |= self.count << 32
            return (memoryview(self.words)[: self.used].tobytes(),)
        head = self.chunks[0]
        self.chunks[0] = head[:4] + int(self.count).to_bytes(4, "little") + head[8:]
        if self.used != 0:
            self._close()
        return tuple(self.chunks)
