"""Commands that are one node: how it runs, and what its operator reads when it does not."""

from __future__ import annotations

from matchengine.cli.exits import Exit, complain, explained
from matchengine.cli.loop import run
from matchengine.runtime.config import NodeConfig
from matchengine.runtime.node import Node, Services
from matchengine.runtime.process import run_node
from matchengine.state_machine import StateMachine

__all__ = ["explained", "run_process"]


def run_process(config: NodeConfig, machine: StateMachine, *services: Services) -> int:
    """Run a node until SIGTERM or Ctrl-C; returns the exit code."""
    try:
        run(run_node(Node(config, machine, services)))
    except Exception as error:  # noqa: BLE001 - whatever stopped the node, its operator reads the text
        complain(f"node {config.id}: {error}")
        return Exit.FAILED
    return Exit.OK
