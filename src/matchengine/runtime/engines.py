"""Which engine a node runs on."""

from __future__ import annotations

from matchengine.node.engine import Engine, Listener
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.hashicorp.engine import HashicorpEngine
from matchengine.runtime.native import NativeEngine
from matchengine.state_machine import StateMachine


def make_engine(config: NodeConfig, machine: StateMachine, listener: Listener) -> Engine:
    """The engine that ``config`` names, not yet open."""
    if config.engine == "hashicorp":
        return HashicorpEngine(config, machine, listener)
    return NativeEngine(config, machine, listener)
