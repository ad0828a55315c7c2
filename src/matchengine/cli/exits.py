"""What the exit codes say, and the errors that lead to them."""

from __future__ import annotations

import sys
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    #: Something differs, was lost, was rejected, or a node stopped with an error.
    FAILED = 1
    #: The command line or its input is not usable.
    USAGE = 2
    #: Nodes could not be run or reached.
    ENVIRONMENT = 3


def complain(text: object) -> None:
    """One line of trouble on stderr."""
    print(f"matchengine: {text}", file=sys.stderr, flush=True)
