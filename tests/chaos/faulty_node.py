"""``matchengine node`` with one rule broken: ``python faulty_node.py BUG node --id ...``."""

from __future__ import annotations

import sys

from matchengine.cli.main import main
from matchengine.raft import leadership
from matchengine.raft.quorum import reached_by_majority
from matchengine.raft.types import Entry, EntryType
from matchengine.service import market_data
from matchengine.sessions import ENVELOPE, SessionMachine, SessionStatus, encode_answer


async def _read_what_is_here(_node) -> int:
    return 0


def _execute_every_time(self: SessionMachine, entry: Entry, session_id: int, sequence: int, acknowledged: int) -> bytes:
    payload = entry.data[ENVELOPE.size :]
    command = Entry(entry.index, entry.term, EntryType.COMMAND, payload, entry.extensions, entry.appended_at)
    (result,) = self.inner.apply((command,))
    return encode_answer(SessionStatus.OK, entry.index, result)


def _reached_up_to_60(values: list[int]) -> int:
    return min(reached_by_majority(values), 60)


BUGS = {
    "reads without a read index": lambda: setattr(market_data, "reach_read_index", _read_what_is_here),
    "retries are executed again": lambda: setattr(SessionMachine, "_command", _execute_every_time),
    "one node is a majority": lambda: setattr(leadership, "reached_by_majority", max),
    "nothing is committed behind entry 60": lambda: setattr(leadership, "reached_by_majority", _reached_up_to_60),
}


if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
