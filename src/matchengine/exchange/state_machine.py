"""The exchange as a state machine for the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.layout import NewerLayoutError
from matchengine.state_machine import NewerVersionError

if TYPE_CHECKING:
    from matchengine.exchange.engine import BatchExecution
    from matchengine.raft.types import Entry


class ExchangeStateMachine:
    """A StateMachine whose commands are packed batches; reads go to ``engine`` directly."""

    def __init__(self, seed: int = 0) -> None:
        """``seed`` as in :class:`MatchingEngine`."""
        self.engine = MatchingEngine(seed)

    def apply(self, entries: Sequence[Entry]) -> list[bytes]:
        """Execute each entry's batch at its stamp."""
        try:
            return [self.engine.execute(entry.data, entry.appended_at) for entry in entries]
        except NewerLayoutError as error:
            raise NewerVersionError(str(error)) from error

    def begin(self, entry: Entry) -> BatchExecution:
        """See :meth:`MatchingEngine.begin`."""
        try:
            return self.engine.begin(entry.data, entry.appended_at)
        except NewerLayoutError as error:
            raise NewerVersionError(str(error)) from error

    def snapshot(self) -> Iterator[bytes]:
        """See :meth:`MatchingEngine.snapshot`."""
        return self.engine.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """See :meth:`MatchingEngine.restore`."""
        self.engine.restore(chunks)

    def state_hash(self) -> bytes:
        """See :meth:`MatchingEngine.state_hash`."""
        return self.engine.state_hash()
