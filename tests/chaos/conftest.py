"""What the tests of real processes need, and where it is missing."""

from __future__ import annotations

import os

import pytest

from matchengine.chaos.sandbox import what_is_missing


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Network namespaces; without them a test is skipped, or fails where they are required."""
    missing = what_is_missing()
    if not missing:
        return
    if os.environ.get("MATCHENGINE_REQUIRE_NETNS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)
