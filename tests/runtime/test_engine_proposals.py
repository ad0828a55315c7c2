"""Commands under way on HashiCorp Raft: each ends once, whatever the other half says of it."""

from __future__ import annotations

import pytest

from matchengine.errors import BusyError, EngineError, UnknownOutcomeError
from matchengine.node.engine import Outcome
from matchengine.raft.types import Entry
from matchengine.runtime.hashicorp.proposals import Proposals


class Ends:
    """How commands ended, by their numbers."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Outcome | None, Exception | None]] = []

    def begin(self, proposals: Proposals, *numbers: int) -> None:
        for number in numbers:
            proposals.begin(
                number, 1, 1, lambda outcome, error, number=number: self.seen.append((number, outcome, error))
            )


def test_answers_go_to_their_commands_and_not_those_of_others() -> None:
    proposals, ends = Proposals(), Ends()
    ends.begin(proposals, 1, 2)
    proposals.keep((Entry(5, 1), Entry(6, 1), Entry(7, 1)), [b"5", b"6", b"7"])
    refused = BusyError("full")
    proposals.settle(1, 0, refused)
    proposals.settle(2, 7, None)
    assert ends.seen == [(1, None, refused), (2, Outcome(7, b"7"), None)]


def test_a_command_whose_answer_is_missing_ends_with_the_others() -> None:
    """That stops the node, and whoever stops it gives up what is under way: nobody may be left out."""
    proposals, ends = Proposals(), Ends()
    ends.begin(proposals, 1, 2)
    proposals.keep((Entry(5, 1),), [b"5"])
    with pytest.raises(EngineError, match="entry 6 was committed, but not applied here"):
        proposals.settle(1, 6, None)
    lost = UnknownOutcomeError("node stopped")
    proposals.give_up(lost)
    assert ends.seen == [(1, None, lost), (2, None, lost)]
