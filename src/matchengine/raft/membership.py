"""Which configuration is in force: the latest in the log, committed or not (section 6)."""

from __future__ import annotations

from collections import deque

from matchengine.raft.configuration import check_members, decode_configuration, encode_configuration
from matchengine.raft.types import Configuration, Entry, EntryType, Index, Restored, ServerId


class Membership:
    """The committed configuration and those after it, so that a truncation can fall back.

    ``voters`` are the latest configuration's, ``latest_index``/``committed_index`` the entries
    that wrote them (0: none).
    """

    __slots__ = ("_history", "latest", "latest_index", "voters")

    def __init__(self, restored: Restored) -> None:
        snapshot = restored.snapshot
        self.reset(
            snapshot.configuration_index if snapshot else 0, snapshot.configuration if snapshot else Configuration()
        )
        start = snapshot.index if snapshot else 0
        for entry in restored.entries:
            if entry.type is EntryType.CONFIGURATION and entry.index > start:
                self.append(entry.index, decode_configuration(entry.data))

    def reset(self, index: Index, configuration: Configuration) -> None:
        """A snapshot's configuration replaces everything."""
        self._history: deque[tuple[Index, Configuration]] = deque([(index, configuration)])
        self._choose_latest()

    def append(self, index: Index, configuration: Configuration) -> None:
        """The log got a configuration at ``index``: it is in force at once."""
        self._history.append((index, configuration))
        self._choose_latest()

    def truncate_from(self, index: Index) -> None:
        """The log lost ``index`` and all after it."""
        while len(self._history) > 1 and self._history[-1][0] >= index:
            self._history.pop()
        self._choose_latest()

    def commit(self, index: Index) -> None:
        """Everything up to ``index`` is committed."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            self._history.popleft()

    def _choose_latest(self) -> None:
        self.latest_index, self.latest = self._history[-1]
        self.voters = self.latest.voters()

    @property
    def committed(self) -> Configuration:
        """The newest configuration known to be committed."""
        return self._history[0][1]

    @property
    def committed_index(self) -> Index:
        """The entry that wrote it."""
        return self._history[0][0]

    @property
    def is_settled(self) -> bool:
        """Whether the latest configuration is committed."""
        return len(self._history) == 1

    def knows(self, server_id: ServerId) -> bool:
        """Whether this id is a member, or nobody is (a server that was never told its cluster)."""
        return not self.latest.servers or self.latest.get(server_id) is not None

    def at(self, address: str) -> ServerId:
        """The id of the member at ``address``; ``""`` without any."""
        return next((server.id for server in self.latest.servers if server.address == address), "")

    def may_stand(self, server_id: ServerId) -> bool:
        """Whether this id may lead: it votes, or did before a change that may never be committed.

        Without the second half, servers that hold the change and servers that do not could all be
        barred from standing (thesis section 4.2.2).  The configuration before the last two is
        settled: a leader appends no change before the one before it is committed.
        """
        return any(self._history[at][1].is_voter(server_id) for at in range(-min(2, len(self._history)), 0))


def configurations_in(entries: tuple[Entry, ...]) -> list[tuple[Index, Configuration]]:
    """The configurations among ``entries``; ValueError when one is malformed or breaks a rule for members.

    The bytes of an entry are handed on as they are, and a server of another make may die of what this one
    would understand: they must be the very ones that HashiCorp Raft writes.
    """
    return [(e.index, _configuration_in(e)) for e in entries if e.type is EntryType.CONFIGURATION]


def _configuration_in(entry: Entry) -> Configuration:
    configuration = decode_configuration(entry.data)
    try:
        check_members(configuration)
    except ValueError as error:
        raise ValueError(f"entry {entry.index}: {error}") from None
    if encode_configuration(configuration) != entry.data:
        raise ValueError(f"entry {entry.index}: the configuration is in other bytes than HashiCorp Raft writes")
    return configuration
