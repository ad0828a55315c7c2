"""The matching engine behind a node of an exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matchengine.exchange.state_machine import ExchangeStateMachine
from matchengine.sessions import SessionMachine

if TYPE_CHECKING:
    from matchengine.exchange.engine import MatchingEngine
    from matchengine.runtime.node import Node


def engine_of(node: Node) -> MatchingEngine:
    """The engine as it stands; raises TypeError for a node that replicates something else."""
    machine = node.machine
    if isinstance(machine, SessionMachine) and isinstance(machine.inner, ExchangeStateMachine):
        return machine.inner.engine
    raise TypeError(f"machine: {type(machine).__name__} holds no exchange in sessions")
