"""One gRPC channel to several nodes, whose requests find the leader by the nodes' health.

This works with every node that reports leadership in the health service, HashiCorp Raft's included.
"""

from __future__ import annotations

import json
import socket
from typing import Final

from matchengine.client.leader import parse_addresses

_SCHEMES: Final = ((socket.AF_INET, "ipv4"), (socket.AF_INET6, "ipv6"))


def target_addresses(target: str) -> tuple[str, ...]:
    """The addresses in ``host:port``, a comma-separated list of them, or ``multi:///`` and such a list."""
    return parse_addresses(target)


def channel_target(target: str) -> str:
    """A target of gRPC's for all of :func:`target_addresses`, names resolved now.

    Raises ValueError for a malformed address, for a name that is not known, and when neither IPv4 nor IPv6 reaches all.
    """
    found = [_resolve(address) for address in target_addresses(target)]
    for family, scheme in _SCHEMES:
        if all(family in places for places in found):
            return f"{scheme}:{','.join(dict.fromkeys(places[family] for places in found))}"
    raise ValueError(f"target: neither IPv4 nor IPv6 reaches every address of {target!r}")


def leader_options(service: str) -> tuple[tuple[str, str], ...]:
    """Options of a channel whose requests go to nodes only where ``service`` is healthy."""
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": service}}
    return (("grpc.service_config", json.dumps(config)),)


def _resolve(address: str) -> dict[int, str]:
    """The first place of ``host:port`` in each address family."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise ValueError(f"target: {address!r} leads nowhere: {error}") from None
    places: dict[int, str] = {}
    for family, _, _, _, place in found:
        text = f"[{place[0]}]" if family == socket.AF_INET6 else str(place[0])
        places.setdefault(int(family), f"{text}:{port}")
    return places
