"""Reflection, so that generic tools can list and call everything that a node serves."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection


def add_reflection(server: grpc.aio.Server, names: Sequence[str]) -> None:
    """Describe the services ``names`` and reflection itself."""
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
