"""Rules of sessions: one that is in use lasts, an idle one ends, and what they hold is counted rightly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matchengine.answers import whole
from matchengine.client.errors import SessionExpiredError
from matchengine.errors import MatchEngineError
from matchengine.raft.types import Entry
from matchengine.testing.simulator.checkers import Checker

if TYPE_CHECKING:
    from matchengine.testing.simulator.clients import Client
    from matchengine.testing.simulator.process import Process

#: What the sessions hold is counted at every so manieth index, and after every restore.
_COUNTED: Final = 8
#: Faults after which neither stamps nor a leader's own clock say how much time has passed.
_CLOCKS: Final = ("clock-jump", "drift")


class LivingSessions(Checker):
    """A session that its client has used lately does not expire."""

    name = "living sessions"

    def over(self, client: Client, error: MatchEngineError) -> None:
        """See :class:`Checker`."""
        world = self.world
        if type(error) is not SessionExpiredError or any(world.counts[kind] for kind in _CLOCKS):
            return
        silent_us = world.timeline.now - client.used_at
        if silent_us <= world.session_idle_us:
            self.broken(
                f"a session of {client.id} has expired {silent_us / 1e6:.3f} s after it was used, "
                f"not {world.session_idle_us / 1e6:.0f} s"
            )


class HeldAnswers(Checker):
    """A node counts the answers that its sessions hold, by number and by bytes, as they are."""

    name = "held answers"

    def applied(self, process: Process, entry: Entry, answer: bytes) -> None:
        """See :class:`Checker`."""
        del answer
        if not entry.index % _COUNTED:
            self._count(process)

    def restored(self, process: Process) -> None:
        """See :class:`Checker`."""
        self._count(process)

    def _count(self, process: Process) -> None:
        table = process.sessions._table
        total = 0
        for number, session in table.sessions.items():
            held = sum(len(whole(answer)) for answer in session.answers.values())
            if session.answer_bytes != held:
                self.broken(
                    f"{process.id} counts {session.answer_bytes} bytes for session {number}, which holds {held}"
                )
            total += held
        if table.answer_bytes != total:
            self.broken(f"{process.id} counts {table.answer_bytes} bytes of answers, and its sessions hold {total}")


def idle_longer_than(process: Process, duration_us: int) -> list[int]:
    """Sessions whose last entry is older than that by the wall clock of the node."""
    oldest_ns = process.host.now_ns() - 1000 * duration_us
    return [number for number, session in process.sessions._table.sessions.items() if session.last_active < oldest_ns]
