"""How the nodes of a cluster stand, ours and HashiCorp Raft's alike, and whether their states agree."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import grpc
import msgspec

from matchengine.client.admin import Admin
from matchengine.levels import Levels
from matchengine.v1.cluster_pb2 import StatusResponse
from matchengine.wire.raft_admin_pb2 import GetConfigurationResponse

#: A large state takes its time to be hashed.
_HASH_S: Final = 10.0
_PAUSE_S: Final = 0.1
_GO_UNITS_MS: Final = {"h": 3_600_000.0, "m": 60_000.0, "s": 1000.0, "ms": 1.0, "us": 1e-3, "\u00b5s": 1e-3, "ns": 1e-6}
_GO_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ns|us|\u00b5s|ms|h|m|s)")
_GO_DURATION: Final = re.compile(rf"(?:{_GO_PART.pattern})+")


class Suffrage(StrEnum):
    """A server's part in the leader's configuration."""

    UNKNOWN = "unknown"
    VOTER = "voter"
    NONVOTER = "nonvoter"
    #: It was removed, or has never been a member.
    NONE = "none"


class Standing(msgspec.Struct, frozen=True):
    """One node; ``state_hash`` (hexadecimal) belongs to ``applied``, and is ``"-"`` where there is none.

    ``role`` is ``"no answer"`` for a node that did not answer.  ``fsync_us`` and ``resident_bytes``
    are 0 for nodes that do not tell.  ``last_contact_ms`` is how long ago it heard a leader, None when it never did.
    ``suffrage`` is what the leader's configuration says of it, ``lag`` the entries that the leader has committed and it
    has not applied; both are unknown without a leader.  ``level`` and ``newest_level`` are feature levels, in force at
    the node and the highest that its program executes; they are empty for nodes that have none.
    """

    address: str
    id: str = ""
    role: str = "no answer"
    term: int = 0
    last: int = 0
    commit: int = 0
    applied: int = 0
    snapshot: int = 0
    last_contact_ms: float | None = None
    state_hash: str = "-"
    fsync_us: float = 0.0
    resident_bytes: int = 0
    level: str = ""
    newest_level: str = ""
    suffrage: Suffrage = Suffrage.UNKNOWN
    lag: int | None = None

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

    def place(self, configuration: GetConfigurationResponse) -> None:
        """Say of every node what it is in the leader's ``configuration``, and how far behind the leader it is."""
        leader = self.leader
        if leader is None:
            return
        suffrages = {server.id: _suffrage(server) for server in configuration.servers}
        self.nodes = [
            msgspec.structs.replace(
                node,
                suffrage=suffrages.get(node.id, Suffrage.NONE),
                lag=max(0, leader.commit - node.applied) if node.answers else None,
            )
            for node in self.nodes
        ]

    @property
    def voters(self) -> list[Standing]:
        """The voting members, as the leader knows them; none without a leader."""
        return [node for node in self.nodes if node.suffrage is Suffrage.VOTER]

    @property
    def quorum(self) -> int:
        """How many voters must run; 0 without a leader."""
        return len(self.voters) // 2 + 1 if self.voters else 0

    @property
    def may_fail(self) -> int:
        """How many more voters may fail before the cluster stands still."""
        return max(0, sum(node.answers for node in self.voters) - self.quorum)


def _suffrage(server: GetConfigurationResponse.Server) -> Suffrage:
    return Suffrage.VOTER if server.suffrage == GetConfigurationResponse.Server.VOTER else Suffrage.NONVOTER


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
            await _place(admin, found)
            return found
        await asyncio.sleep(_PAUSE_S)


async def _place(admin: Admin, found: ClusterStanding) -> None:
    if found.leader is not None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            found.place(await admin.configuration(found.leader.address))


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
        status.last_contact_ms if status.HasField("last_contact_ms") else None,
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
        go_duration_ms(stats.get("last_contact", "")),
    )


def go_duration_ms(text: str) -> float | None:
    """Milliseconds in a duration as Go prints it (``1m2.5s``, ``33.1ms``, ``0``); None for what is not one."""
    if text in ("0", "0s"):
        return 0.0
    if not _GO_DURATION.fullmatch(text):
        return None
    return sum(float(number) * _GO_UNITS_MS[unit] for number, unit in _GO_PART.findall(text))


def _number(stats: Mapping[str, str], key: str) -> int:
    text = stats.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
