"""What the node's logic needs from the world: a disk, a network, a worker, a clock.

Every call returns at once; the outcome comes later through a callback, always on the node's own
thread and never from inside the call itself.  The real adapters live in ``runtime`` and
``transport``; a simulator supplies its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from matchengine.raft.messages import Request, Response
from matchengine.raft.ready import Write
from matchengine.raft.types import Server, ServerId, SnapshotMeta

T = TypeVar("T")


class Disk(Protocol):
    """Performs the core's writes in order, several of them in one sync where it can."""

    def submit(self, write: Write, done: Callable[[Exception | None], None]) -> None:
        """Queue ``write``; ``done(None)`` once it and all before it are durable, else ``done(error)`` for good."""
        ...


class Worker(Protocol):
    """Runs long work away from the node's thread."""

    def run(self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """Run ``work()``; then ``done(result, None)`` or ``done(None, error)``."""
        ...


class Outcome(Protocol):
    """What became of a request that was sent; exactly one of the two is called."""

    def answered(self, response: Response) -> None:
        """The peer answered."""
        ...

    def unanswered(self, *, too_old: bool = False) -> None:
        """The call failed or its deadline passed; ``too_old``: the peer does not know this kind of request."""
        ...


class Network(Protocol):
    """Calls peers.  Requests to one peer leave in the order in which they were sent."""

    def send(self, to: Server, request: Request, outcome: Outcome) -> None:
        """Call ``to`` with ``request``, with a deadline.  An InstallSnapshot brings the snapshot's bytes along."""
        ...


class InboundCall(Protocol):
    """A peer's call that waits for its answer; exactly one of ``answer`` and ``fail`` is called, once."""

    @property
    def sender(self) -> ServerId:
        """The id that the caller announced; may be empty."""
        ...

    @property
    def sender_address(self) -> str:
        """The address that the caller announced; may be empty."""
        ...

    def answer(self, response: Response) -> None:
        """Send the response."""
        ...

    def fail(self, error: str) -> None:
        """Fail the call with this text."""
        ...

    def receive_snapshot(self, meta: SnapshotMeta, done: Callable[[str], None]) -> None:
        """Stream the call's bytes into the snapshot store; ``done("")`` once durable, else ``done(error text)``."""
        ...


class Clock(Protocol):
    """The wall clock, for the stamps of entries only."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...
