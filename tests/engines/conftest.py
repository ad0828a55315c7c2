"""Scenarios with nodes on either engine, on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from engine_nodes import PATIENCE_S, Nodes


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all: gRPC wants no other."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def play(tmp_path, runner, request):
    """``play(scenario, engine)`` runs ``scenario(nodes)``."""

    def run(scenario, engine):
        if engine != "matchengine":
            request.getfixturevalue("go_programs")
        nodes = Nodes(tmp_path, engine)

        async def bounded():
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await scenario(nodes)
            finally:
                await nodes.stop()

        runner.run(bounded())

    return run
