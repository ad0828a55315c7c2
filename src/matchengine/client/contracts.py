"""What a client's logic asks of the world: calls of nodes, one stream, and time.

Adapters give it over gRPC and asyncio (:mod:`matchengine.client.calls`, :mod:`matchengine.client.pipeline`),
a simulator over its own network.  A ``done`` is called once, later than the call that it belongs to, or never when
nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from matchengine.errors import MatchEngineError

T_contra = TypeVar("T_contra", contravariant=True)

#: A node that does not answer within this time is passed over, in seconds.
ATTEMPT_S: Final = 1.0


class NodeStatus(NamedTuple):
    """Whether a node leads, and the address of the leader that it knows, or ``""``."""

    leads: bool
    leader_address: str


class Opened(NamedTuple):
    """The cluster's answer to a client that opens a session; ``status`` is a ``SessionStatus``, ``detail`` in words."""

    session_id: int
    status: int
    detail: str = ""


class Slice(NamedTuple):
    """What one response holds of an answer: ``size`` units from ``position`` on; ``more`` when others follow.

    Units are bytes, or reports.
    """

    position: int
    size: int
    more: bool


class Failure(NamedTuple):
    """A call or a stream that failed.

    ``may_retry`` when that speaks of the transport or the moment rather than of the request; ``hint`` is
    the leader's address if the node named it.
    """

    text: str
    may_retry: bool = True
    hint: str = ""


class Nodes(Protocol):
    """Nodes that can be asked, and time."""

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call ``action`` in ``delay_s``."""
        ...

    def jitter(self) -> float:
        """A number from 0 to 1, another one each time."""
        ...

    def ask_status(self, address: str, done: Callable[[NodeStatus | None], None]) -> None:
        """How the node stands; None when it does not answer within ``ATTEMPT_S``."""
        ...


class Stream(Protocol):
    """One stream of commands and answers to one node."""

    def write(self) -> None:
        """There may be more in the queue to write."""
        ...

    def cancel(self) -> None:
        """Nobody listens any more."""
        ...


class Cluster(Nodes, Protocol[T_contra]):
    """What one session asks of the nodes, and what its owner wants to hear.  Tickets are of type ``T``."""

    def open_session(self, address: str, done: Callable[[Opened | Failure], None]) -> None:
        """Ask for a session, for ``ATTEMPT_S`` at most."""
        ...

    def keep_alive(self, address: str, session_id: int, done: Callable[[int | Failure], None]) -> None:
        """Tell that the session is in use, for ``ATTEMPT_S`` at most; the result is a ``SessionStatus``."""
        ...

    def open_stream(self, address: str) -> Stream:
        """A stream to the node; what comes of it goes to :class:`~matchengine.client.pursuit.Pursuit`."""
        ...

    def sliced(self, ticket: T_contra, response: Any, known: int) -> None:
        """A slice of the answer has come, not the last; its first ``known`` units came before."""
        ...

    def answered(self, ticket: T_contra, response: Any, known: int) -> None:
        """The answer, or the last slice of it, has come; its first ``known`` units came before."""
        ...

    def session_opened(self) -> None:
        """The session has its id, and a node that leads is found."""
        ...

    def session_over(self, error: MatchEngineError, tickets: list[Any]) -> None:
        """The session has ended; the commands of ``tickets`` have no answer."""
        ...
