"""How the nodes of a cluster stand, ours and HashiCorp Raft's alike, and whether their states agree."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

import grpc
import msgspec

from matchengine.client.admin import Admin
from matchengine.levels import Levels
from matchengine.v1.cluster_pb2 import StatusResponse

#: A large state takes its time to be hashed.
_HASH_S: Final = 10.0
_PAUSE_S: Final = 0.1


class Standing(msgspec.Struct, frozen=True):
    """One node; ``state_hash`` (hexadecimal) belongs to ``applied``, and is ``"-"`` where there is none.

    ``role`` is ``"no answer"`` for a node that did not answer.  ``fsync_us`` and ``resident_bytes``
    are 0 for nodes that do not tell.  ``level`` and ``newest_level`` are feature levels, in force at the node and the
    highest that its program executes; they are empty for nodes that have none.
    """

    address: str
    id: str = ""
    role: str = "no answer"
    term: int = 0
    last: int = 0
    commit: int = 0
    applied: int = 0
    snapshot: int = 0
    last_contact: str = ""
    state_hash: str = "-"
    fsync_us: float = 0.0
    resident_bytes: int = 0
    level: str = ""
    newest_level: str = ""

    @property
    def answers(self) -> bool:
        """Whether the node answered at all."""
        return self.role != "no answer"

    @property
    def has_hash(self) -> bool:
        """Whether the node has told its state's hash."""
        return self.state_hash != "-"


class ClusterStanding:
    """The nodes as they were seen last, and every state hash that was seen meanwhile."""

    def __init__(self) -> None:
        self.nodes: list[Standing] = []
        self._hashes: dict[int, dict[str, str]] = {}

    def note(self, nodes: Sequence[Standing]) -> None:
        """One more look at all nodes."""
        self.nodes = list(nodes)
        for node in nodes:
            if node.has_hash:
                self._hashes.setdefault(node.applied, {})[node.address] = node.state_hash

    @property
    def leader(self) -> Standing | None:
        """The leader; of two that say so, the one with the newer term."""
        leaders = (node for node in self.nodes if node.role == "leader")
        return max(leaders, key=lambda node: node.term, default=None)

    @property
    def hashing(self) -> set[str]:
        """Addresses of the nodes that have told a hash now."""
        return {node.address for node in self.nodes if node.has_hash}

    @property
    def differing_index(self) -> int:
        """An index at which two nodes' states differed, or 0."""
        differing = (index for index, seen in self._hashes.items() if len(set(seen.values())) > 1)
        return min(differing, default=0)

    @property
    def common_index(self) -> int:
        """The newest index at which the hash of every node that tells one was seen, or 0."""
        wanted = self.hashing
        return max((index for index, seen in self._hashes.items() if wanted <= seen.keys()), default=0)

    @property
    def is_settled(self) -> bool:
        """Whether a further look could not say more about the hashes."""
        return len(self.hashing) < 2 or self.common_index > 0 or self.differing_index > 0

    def lag(self, node: Standing) -> int | None:
        """Entries that the leader has committed and ``node`` has not applied; None when that is unknown."""
        if self.leader is None or not node.answers:
            return None
        return max(0, self.leader.commit - node.applied)


async def look(admin: Admin, addresses: Sequence[str], patience_s: float) -> ClusterStanding:
    """See how the named nodes and all other members stand.

    Looks again for about ``patience_s``, until all hashes have been seen at one common index.
    """
    ids = await _members(admin, addresses)
    everyone = [*dict.fromkeys((*addresses, *ids))]
    found = ClusterStanding()
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience_s
    while True:
        found.note(await asyncio.gather(*(_standing(admin, each, ids.get(each, "")) for each in everyone)))
        if found.is_settled or clock() >= deadline:
            return found
        await asyncio.sleep(_PAUSE_S)


async def _members(admin: Admin, addresses: Sequence[str]) -> dict[str, str]:
    """Address and id of every member, as the first of the nodes that answers knows them."""
    for address in addresses:
        with contextlib.suppress(grpc.aio.AioRpcError):
            configuration = await admin.configuration(address)
            if configuration.servers:
                return {server.address: server.id for server in configuration.servers}
    return {}


async def _standing(admin: Admin, address: str, known_id: str) -> Standing:
    try:
        status = await admin.status(address)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            return Standing(address, known_id)
        return await _foreign(admin, address, known_id)
    with contextlib.suppress(grpc.aio.AioRpcError):  # no hash: the state is being replaced, or has none
        status = await admin.status(address, state_hash=True, timeout_s=_HASH_S)
    return _of_status(address, status)


def _of_status(address: str, status: StatusResponse) -> Standing:
    return Standing(
        address,
        status.id,
        status.role,
        status.term,
        status.last_index,
        status.commit_index,
        status.applied_index,
        status.snapshot_index,
        f"{status.last_contact_ms} ms" if status.HasField("last_contact_ms") else "never",
        status.state_hash.hex() or "-",
        status.fsync_us,
        status.resident_bytes,
        _levels(status, "active_levels"),
        _levels(status, "newest_levels"),
    )


def _levels(status: StatusResponse, field: str) -> str:
    """As text; empty for a node that tells none."""
    if not status.HasField(field):
        return ""
    levels = getattr(status, field)
    return str(Levels(levels.library, levels.machine))


async def _foreign(admin: Admin, address: str, known_id: str) -> Standing:
    try:
        stats = await admin.stats(address)
    except grpc.aio.AioRpcError:
        return Standing(address, known_id)
    return Standing(
        address,
        known_id,
        stats.get("state", "").lower() or "unknown",
        _number(stats, "term"),
        _number(stats, "last_log_index"),
        _number(stats, "commit_index"),
        _number(stats, "applied_index"),
        _number(stats, "last_snapshot_index"),
        stats.get("last_contact", ""),
    )


def _number(stats: Mapping[str, str], key: str) -> int:
    text = stats.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
