"""Searching for the leader: every known node is asked, each at its own pace, until one says that it leads.

A node's hint adds the leader's address to those asked, so one good address is enough.  There is no IO here and
no clock, so a simulator drives the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from matchengine.client.contracts import Nodes, NodeStatus

_PAUSE_S: Final = (0.010, 0.030)
_MAX_HINTS: Final = 16
_MAX_ASKED: Final = 64


def pause_s(jitter: float) -> float:
    """A short rest between attempts, so that clients do not move in step; ``jitter`` is from 0 to 1."""
    least, most = _PAUSE_S
    return least + jitter * (most - least)


class LeaderSearch:
    """Looks for the leader among ``addresses`` and those that nodes have named; ``is_on`` while it does.

    Searches of one owner may share ``hints``.
    """

    def __init__(self, addresses: Sequence[str], nodes: Nodes, hints: dict[str, None] | None = None) -> None:
        self.addresses = tuple(addresses)
        self._nodes = nodes
        self._hints: dict[str, None] = {} if hints is None else hints
        self._asked: set[str] = set()
        self.is_on = False
        #: Rises with every search: answers to earlier ones are nobody's.
        self._round = 0

    def begin(self, found: Callable[[str], None]) -> None:
        """Call ``found`` with the address of a node that leads; an earlier search is over."""
        self.stop()
        self._asked = set()
        self.is_on = True
        for address in (*self.addresses, *self._hints):
            self._ask(address, found)

    def stop(self) -> None:
        """Search no longer."""
        self._round += 1
        self.is_on = False

    def hint(self, address: str) -> None:
        """Remember an address that a node named as the leader's."""
        if address and address not in self.addresses:
            self._hints.pop(address, None)
            self._hints[address] = None
            while len(self._hints) > _MAX_HINTS:
                self._hints.pop(next(iter(self._hints)))

    def _ask(self, address: str, found: Callable[[str], None]) -> None:
        if address and address not in self._asked and len(self._asked) < _MAX_ASKED:
            self._asked.add(address)
            self._poll(address, found)

    def _poll(self, address: str, found: Callable[[str], None]) -> None:
        this_round = self._round

        def heard(status: NodeStatus | None) -> None:
            if self._round != this_round:
                return
            if status is not None and status.leads:
                self.stop()
                found(address)
                return
            self._nodes.later(pause_s(self._nodes.jitter()), again)
            if status is not None:
                self.hint(status.leader_address)
                self._ask(status.leader_address, found)

        def again() -> None:
            if self._round == this_round:
                self._poll(address, found)

        self._nodes.ask_status(address, heard)
