"""Settings of a node."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final, Literal, cast

import msgspec

from matchengine.levels import Levels
from matchengine.node.policy import SnapshotPolicy
from matchengine.raft.config import FAST, HASHICORP, Timing

#: What replicates the log: ours, or HashiCorp Raft in a process of its own.
EngineName = Literal["matchengine", "hashicorp"]
ENGINE_TIMING: Final[dict[EngineName, Timing]] = {"matchengine": FAST, "hashicorp": HASHICORP}


class NodeConfig(msgspec.Struct, frozen=True):
    """One node: ``address`` is what peers and clients are told, ``listen`` (default: the same) what is bound.

    ``bootstrap`` makes the node the only voter of a new cluster if its directory is empty.
    ``session_idle_s`` ends sessions that were silent for longer, by an entry in the log.
    ``trailing_entries`` is HashiCorp Raft's TrailingLogs: so many entries stay in the log behind a snapshot.
    ``timing`` is by default the engine's own: fast, or HashiCorp Raft's.  ``engine_program`` is where the
    program of the HashiCorp engine is, if it is not where ``make engine`` leaves it.
    ``feature_level`` is where a cluster that this node founds begins, by default at this program's newest; lower
    levels let older programs join.
    """

    id: str
    address: str
    data_dir: Path
    listen: str = ""
    bootstrap: bool = False
    timing: Timing = cast("Timing", None)  # set below, so that whoever reads it finds one
    snapshots: SnapshotPolicy = SnapshotPolicy()
    session_idle_s: float = 600.0
    trailing_entries: int = 10240
    engine: EngineName = "matchengine"
    engine_program: Path | None = None
    feature_level: Levels | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINE_TIMING:
            raise ValueError(f"engine: {self.engine!r} is none of {', '.join(ENGINE_TIMING)}")
        if cast("Timing | None", self.timing) is None:
            msgspec.structs.force_setattr(self, "timing", ENGINE_TIMING[self.engine])
        for field, value in (("address", self.address), ("listen", self.listen_address)):
            check_address(field, value)
        check_reachable("address", self.address)
        if not self.id:
            raise ValueError("id: '' is empty; a node needs an id")
        if self.session_idle_s <= 0:
            raise ValueError(f"session_idle_s: {self.session_idle_s} is not above 0")
        if self.trailing_entries < 0:
            raise ValueError(f"trailing_entries: {self.trailing_entries} is below 0")
        if self.feature_level is not None and not self.bootstrap:
            raise ValueError(f"feature_level: {self.feature_level} is for the node that founds a cluster (bootstrap)")

    @property
    def listen_address(self) -> str:
        """What is bound."""
        return self.listen or self.address


def check_address(field: str, value: str) -> None:
    """Raise ValueError unless ``value`` is host:port with a port from 1 to 65535; IPv6 stands in brackets."""
    host, colon, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or "/" in host or (":" in host and bare == host):
        raise ValueError(f"{field}: {value!r} is not of the form host:port")
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise ValueError(f"{field}: port {port!r} is not a number from 1 to 65535")


def check_reachable(field: str, value: str) -> None:
    """Raise ValueError for an address that stands for all of a machine: it can be bound, but leads nobody to a node."""
    host = value.rpartition(":")[0].strip("[]")
    try:
        is_any = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return
    if is_any:
        raise ValueError(
            f"{field}: {value!r} is every address of a machine, and leads others nowhere; "
            "give the one by which they reach the node, and listen on this one (option --listen)"
        )


def is_loopback(address: str) -> bool:
    """Whether ``host:port`` can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
