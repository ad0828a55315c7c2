"""What the exit codes say, and the errors that lead to them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import ParamSpec

from matchengine.errors import MatchEngineError, RefusedError

P = ParamSpec("P")


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    #: Something differs, was lost, was rejected, or a node stopped with an error.
    FAILED = 1
    #: The command line or its input is not usable.
    USAGE = 2
    #: Nodes could not be run or reached.
    ENVIRONMENT = 3
    #: The cluster works, but one of its voters does not answer.
    DEGRADED = 4


def explained(command: Callable[P, object]) -> Callable[P, int]:
    """Make ``command`` give an exit code: its own, or that of a known error, which is told in one line."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            code = command(*args, **kwargs)
        except ValueError as error:
            complain(error)
            return Exit.USAGE
        except RefusedError as error:
            complain(error)
            return Exit.FAILED
        except MatchEngineError as error:
            complain(error)
            return Exit.ENVIRONMENT
        except OSError as error:
            return _give_up_output(error)
        except KeyboardInterrupt:
            return 130
        return code if isinstance(code, int) else Exit.OK

    return run


def complain(text: object) -> None:
    """One line of trouble on stderr, if anybody still reads it."""
    with contextlib.suppress(BrokenPipeError):
        print(f"matchengine: {text}", file=sys.stderr, flush=True)


def _give_up_output(error: OSError) -> int:
    """The exit code when what was to be printed has no place to go; never that of a difference found."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # Python writes what is left once more when it ends
    if isinstance(error, BrokenPipeError):
        return 141  # as the shell says of a program that SIGPIPE has ended, and as quietly
    complain(error)
    return Exit.ENVIRONMENT
