"""Namespaces joined by a bridge, and what can go wrong between two of them, each direction for itself.

Every host knows the others' hardware addresses by fixed entries, so one entry decides the way of one
direction: to the host itself, to nobody (frames vanish, as on a broken line), or to the relay, which is on
the bridge like a host and delays or drops what it passes on.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from matchengine.chaos.relay import Relay
from matchengine.cluster.processes import ClusterError

HUB: Final = "mech-hub"
CLIENTS: Final = "mech-clients"
_NAMES: Final = Path("/run/netns")
_NETWORK: Final = "10.77.0"
_RELAY: Final = "02:00:00:00:ff:01"
_NOBODY: Final = "02:00:00:00:ff:02"


class Shape(msgspec.Struct, frozen=True):
    """How a host's frames leave it: delayed by ``delay_ms`` give or take ``jitter_ms``, a share of ``loss`` lost."""

    delay_ms: float
    jitter_ms: float
    loss: float


class Host(msgspec.Struct, frozen=True):
    """A namespace on the bridge."""

    name: str
    number: int

    @property
    def ip(self) -> str:
        """Its address."""
        return f"{_NETWORK}.{self.number}"

    @property
    def mac(self) -> str:
        """Its hardware address."""
        return f"02:00:00:00:00:{self.number:02x}"


class Network:
    """The clients' namespace, which is this process's own, and one namespace for each of ``names``."""

    def __init__(self, names: Iterable[str], relay: Relay) -> None:
        self.clients = Host(CLIENTS, 1)
        self.hosts = [Host(f"mech-{name}", number) for number, name in enumerate(names, 11)]
        self._relay = relay
        self._netem = False
        self._cuts: set[tuple[Host, Host]] = set()
        self._shapes: dict[Host, Shape] = {}
        self._ways: dict[tuple[Host, Host], str] = {}

    @property
    def shaper(self) -> str:
        """What delays and drops frames here."""
        return "tc netem" if self._netem else "own relay (no netem in this kernel)"

    def build(self) -> None:
        """Make namespaces, bridge and links; ClusterError when that fails."""
        _NAMES.mkdir(exist_ok=True)
        _run("mount", "-t", "tmpfs", "mech-netns", str(_NAMES))
        for name in (HUB, *(host.name for host in self.hosts)):
            _run("ip", "netns", "add", name)
        _run("ip", "netns", "attach", CLIENTS, str(os.getpid()))
        _batch(HUB, ["link add br0 type bridge", "link set br0 up"])
        for host in self._all:
            self._connect(host)
        self._netem = _has_netem()
        if not self._netem:
            self._place_relay()
        self._route()

    # --- faults ----------------------------------------------------------------------------

    def cut(self, directions: Iterable[tuple[Host, Host]]) -> None:
        """Frames from the first to the second host of each pair vanish from now on."""
        self._cuts.update(directions)
        self._route()

    def mend(self, directions: Iterable[tuple[Host, Host]]) -> None:
        """Take cuts back."""
        self._cuts.difference_update(directions)
        self._route()

    def shape(self, host: Host, shape: Shape | None) -> None:
        """Delay and drop what ``host`` sends; None ends it."""
        if shape is None:
            self._shapes.pop(host, None)
        else:
            self._shapes[host] = shape
        if self._netem:
            _netem(host, shape)
        else:
            self._relay.shape(host.ip, (shape.delay_ms, shape.jitter_ms, shape.loss) if shape else None)
            self._route()

    # --- ways ------------------------------------------------------------------------------

    @property
    def _all(self) -> list[Host]:
        return [self.clients, *self.hosts]

    def _way(self, source: Host, target: Host) -> str:
        if (source, target) in self._cuts:
            return _NOBODY
        return _RELAY if source in self._shapes and not self._netem else target.mac

    def _route(self) -> None:
        """Set the entries whose way has changed."""
        for source in self._all:
            changes = []
            for target in self._all:
                way = self._way(source, target)
                if target is not source and self._ways.get((source, target)) != way:
                    self._ways[source, target] = way
                    changes.append(f"neigh replace {target.ip} lladdr {way} nud permanent dev eth0")
            if changes:
                _batch(source.name, changes)

    # --- building --------------------------------------------------------------------------

    def _connect(self, host: Host) -> None:
        port = f"port{host.number}"
        _batch(
            HUB,
            [
                f"link add {port} type veth peer name eth0 address {host.mac} netns {host.name}",
                f"link set {port} addrgenmode none master br0 up",
            ],
        )
        _batch(
            host.name,
            ["link set lo up", "link set eth0 addrgenmode none up", f"addr add {host.ip}/24 dev eth0"],
        )

    def _place_relay(self) -> None:
        device = self._relay.open({host.ip: host.mac for host in self._all}, _RELAY)
        _batch("", [f"link set {device} netns {HUB}"])
        _batch(HUB, [f"link set {device} addrgenmode none master br0 up"])
        # A fixed place: the bridge would otherwise have to learn it from a frame that nobody may ever send.
        _run("bridge", "-n", HUB, "fdb", "add", _RELAY, "dev", device, "master", "static")


def inside(host: Host, command: Sequence[str]) -> list[str]:
    """``command``, to be run in the namespace of ``host``."""
    return ["ip", "netns", "exec", host.name, *command]


def _has_netem() -> bool:
    place = ("dev", "br0", "root")
    words = ("tc", "-n", HUB, "qdisc", "replace", *place, "netem", "delay", "1ms")
    try:
        tried = subprocess.run(words, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    if tried.returncode:
        return False
    _run("tc", "-n", HUB, "qdisc", "del", *place)
    return True


def _netem(host: Host, shape: Shape | None) -> None:
    start = ("tc", "-n", host.name, "qdisc")
    if shape is None:
        _run(*start, "del", "dev", "eth0", "root")
        return
    delay = ("delay", f"{shape.delay_ms:g}ms", f"{shape.jitter_ms:g}ms")
    _run(*start, "replace", "dev", "eth0", "root", "netem", *delay, "loss", f"{shape.loss:.4%}")


def _batch(namespace: str, lines: Sequence[str]) -> None:
    """Several ``ip`` commands by one process."""
    where = ("-n", namespace) if namespace else ()
    _run("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")


def _run(*words: str, text: str = "") -> None:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(words)}: {text}{done.stderr.strip()}")
