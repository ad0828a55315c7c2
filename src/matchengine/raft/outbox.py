"""What ``Ready`` will give to the driver, and the messages that wait for a write first.

Rules of this file.  A message leaves when every write that it relies on is durable, at once if
none is pending.  An acknowledgement of entries that were replaced before that is never sent.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from matchengine.raft.messages import Request, Response
from matchengine.raft.proposals import Reason
from matchengine.raft.ready import Accepted, Done, ReadReady, ReceiveSnapshot, Refused, Respond, Send
from matchengine.raft.types import Index, Server, SnapshotMeta


class _Held(msgspec.Struct, frozen=True, gc=False):
    """``upto``: the message claims the log up to this index; 0 when it claims none."""

    message: Send | Respond
    upto: Index = 0


_ByWrite: TypeAlias = dict[int, list[_Held]]


class Outbox:
    """Collects until :meth:`Raft.ready` empties it."""

    __slots__ = (
        "_held",
        "accepted",
        "done",
        "notices",
        "reads",
        "receive",
        "refused",
        "requests",
        "responses",
        "restore",
        "wants_snapshot",
    )

    def __init__(self) -> None:
        self._held: _ByWrite = {}
        self.requests: list[Send] = []
        self.responses: list[Respond] = []
        self.accepted: list[Accepted] = []
        self.refused: list[Refused] = []
        self.done: list[Done] = []
        self.reads: list[ReadReady] = []
        self.receive: ReceiveSnapshot | None = None
        self.restore: SnapshotMeta | None = None
        self.wants_snapshot = False
        self.notices: list[str] = []

    def clear(self) -> None:
        """Everything that was ready has been taken; held messages stay."""
        self.requests.clear()
        self.responses.clear()
        self.accepted.clear()
        self.refused.clear()
        self.done.clear()
        self.reads.clear()
        self.receive = self.restore = None
        self.wants_snapshot = False
        self.notices.clear()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is ready."""
        return not (
            self.requests
            or self.responses
            or self.accepted
            or self.refused
            or self.done
            or self.reads
            or self.receive
            or self.restore
            or self.wants_snapshot
            or self.notices
        )

    # --- messages --------------------------------------------------------------------------

    def send(self, to: Server, request: Request, after_write: int = 0) -> None:
        """Send ``request`` once the write with this number is durable (0: at once)."""
        message = Send(to, request)
        if after_write:
            self._held.setdefault(after_write, []).append(_Held(message))
        else:
            self.requests.append(message)

    def respond(self, token: int, response: Response, after_write: int = 0, upto: Index = 0) -> None:
        """Answer a call once the write with this number is durable (0: at once)."""
        message = Respond(token, response)
        if after_write:
            self._held.setdefault(after_write, []).append(_Held(message, upto))
        else:
            self.responses.append(message)

    def fail(self, token: int, error: str) -> None:
        """Fail a call."""
        self.responses.append(Respond(token, None, error))

    def release(self, number: int) -> None:
        """Writes up to ``number`` are durable."""
        for due in [n for n in self._held if n <= number]:
            for held in self._held.pop(due):
                self._leave(held.message)

    def _leave(self, message: Send | Respond) -> None:
        if isinstance(message, Send):
            self.requests.append(message)
        else:
            self.responses.append(message)

    def revoke(self, index: Index) -> None:
        """The log lost ``index`` and all after it: acknowledgements of them that wait are failed."""
        for number, held in list(self._held.items()):
            lost = [h.message for h in held if h.upto >= index and isinstance(h.message, Respond)]
            if lost:
                self._held[number] = [h for h in held if h.upto < index]
                for message in lost:
                    self.fail(message.token, "entries were replaced by a newer leader's")

    # --- proposals -------------------------------------------------------------------------

    def refuse(self, key: int, reason: Reason, detail: str = "") -> None:
        """The proposal ``key`` ends without success."""
        self.refused.append(Refused(key, reason, detail))
