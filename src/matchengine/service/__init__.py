"""The gRPC services of a node.

:func:`serve` combines groups of services for ``Node``'s ``services`` argument.  The groups
of every node (peers, status, administration, health, reflection) always come with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from matchengine.service.admin import add_admin
from matchengine.service.batches import check_layout
from matchengine.service.cluster import add_cluster
from matchengine.service.health import add_health
from matchengine.service.machine import machine_group
from matchengine.service.market_data import add_market_data
from matchengine.service.order_entry import add_order_entry
from matchengine.service.reflection import add_reflection
from matchengine.service.sessions import add_sessions
from matchengine.service.strict import strict
from matchengine.wire import raft_transport_pb2

if TYPE_CHECKING:
    import grpc

    from matchengine.runtime.node import Node, Services

__all__ = ["core_services", "exchange_services", "machine_services", "serve"]

#: Registered by the node itself; listed for reflection.
_TRANSPORT: Final = raft_transport_pb2.DESCRIPTOR.services_by_name["RaftTransport"].full_name


def serve(*application: Services) -> Services:
    """A group of groups: ``application``'s services, whose health follows leadership, and every node's own."""

    def add(node: Node, server: grpc.aio.Server) -> Sequence[str]:
        names = [name for group in application for name in group(node, server)]
        checked = strict(server)
        core = [*add_cluster(node, checked), *add_admin(node, checked), *add_health(node, checked, names)]
        add_reflection(server, [*names, *core, _TRANSPORT])
        return [*names, *core]

    return add


def machine_services(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Sessions and Machine, for any state machine inside a SessionMachine."""
    checked = strict(server)
    return (*add_sessions(node, checked), *_add_machine(node, checked))


def exchange_services(node: Node, server: grpc.aio.Server) -> Sequence[str]:
    """Sessions, Machine, OrderEntry and MarketData, for the exchange inside a SessionMachine."""
    checked = strict(server)
    return (
        *add_sessions(node, checked),
        *_add_exchange_machine(node, checked),
        *add_order_entry(node, checked),
        *add_market_data(node, checked),
    )


#: Peer, Cluster, RaftAdmin, health and reflection, without an application.
core_services: Final[Services] = serve()

_add_machine: Final = machine_group()
_add_exchange_machine: Final = machine_group(check_layout)
