"""The command line: which commands there are.  Each is imported only when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from matchengine.cli.exits import Exit, complain
from matchengine.errors import MatchEngineError, RefusedError

app = App(
    name="matchengine",
    help="A fault-tolerant order-matching engine: order books replicated through a Raft log over gRPC.",
    help_format="markdown",
    exit_on_error=False,
    result_action="return_value",
)
app.command("matchengine.cli.node:node", name="node", help="Run one node of a cluster.")
app.command("matchengine.cli.member:app", name="member", help="Add a node to a cluster, or list its members.")
app.command("matchengine.cli.status:status", name="status", help="Show how the nodes stand.")
app.command("matchengine.cli.instrument:app", name="instrument", help="Create and list instruments.")
app.command("matchengine.cli.orders:submit", name="submit", help="Send one order.")
app.command("matchengine.cli.orders:cancel", name="cancel", help="Cancel an open order.")
app.command("matchengine.cli.book:book", name="book", help="Show an order book.")
app.command("matchengine.cli.demo:demo", name="demo", help="Three nodes, an order stream, a killed leader.")
app.command("matchengine.cli.replay:replay", name="replay", help="Replay a recording and judge the fills.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (see :class:`matchengine.cli.exits.Exit`)."""
    try:
        code = app(arguments)
    except CycloptsError:
        return Exit.USAGE  # it has been printed
    except ValueError as error:
        complain(error)
        return Exit.USAGE
    except RefusedError as error:
        complain(error)
        return Exit.FAILED
    except MatchEngineError as error:
        complain(error)
        return Exit.ENVIRONMENT
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else Exit.OK


if __name__ == "__main__":
    sys.exit(main())
