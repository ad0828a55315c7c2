"""What a user of the library starts with: a node for a state machine of one's own."""

from __future__ import annotations

from collections.abc import Sequence

from matchengine.runtime.config import NodeConfig
from matchengine.runtime.node import Node as BareNode
from matchengine.runtime.node import Services
from matchengine.service import machine_services, serve
from matchengine.sessions import SessionMachine
from matchengine.state_machine import StateMachine


class Node(BareNode):
    """A server that replicates ``machine`` and serves it to :class:`matchengine.Client`.

    Commands come through client sessions, so each takes effect exactly once; the machine itself
    sees nothing of them.  ``services`` adds gRPC services of your own.
    """

    def __init__(self, config: NodeConfig, machine: StateMachine, services: Sequence[Services] = ()) -> None:
        super().__init__(config, SessionMachine(machine), (serve(machine_services, *services),))
