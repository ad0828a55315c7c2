"""How long sessions have been idle: counted by the leader's own clock, whatever the entries are stamped with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from matchengine.sessions.envelopes import LastEntry

#: So many sessions expire with one entry at most; the others wait for the next one.
MAX_EXPIRED_AT_ONCE: Final = 1024


class IdleWatch:
    """What one leader has seen; the unit of time is the caller's.

    A session is idle since the first look at its last entry.  A new leader forgets what it saw as another's follower:
    while there was none, clients could not be heard.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def forget(self) -> None:
        """Begin to count anew."""
        self._seen.clear()

    def look(self, entries: Iterable[LastEntry], now: float) -> None:
        """Note the last entries as they are ``now``."""
        before = self._seen
        self._seen = {}
        for each in entries:
            known = before.get(each.session_id)
            self._seen[each.session_id] = known if known and known[0] == each.entry else (each.entry, now)

    def idle_times(self, now: float) -> dict[int, float]:
        """How long each session has been idle, by its id."""
        return {session_id: now - since for session_id, (_, since) in self._seen.items()}

    def idle(self, limit: float, now: float) -> list[LastEntry]:
        """Sessions idle for longer than ``limit``, at most :data:`MAX_EXPIRED_AT_ONCE` of them."""
        found = [LastEntry(i, entry) for i, (entry, since) in self._seen.items() if now - since > limit]
        return found[:MAX_EXPIRED_AT_ONCE]
