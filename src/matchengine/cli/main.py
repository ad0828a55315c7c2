"""The command line: which commands there are.  Each is imported only when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from matchengine import __version__
from matchengine.cli.exits import Exit, explained


def _version() -> str:
    from matchengine.kernel_build import describe  # noqa: PLC0415 - it loads the engine

    return f"{__version__} (kernel: {describe()})"


app = App(
    name="matchengine",
    help="A fault-tolerant order-matching engine: order books replicated through a Raft log over gRPC.",
    version=_version,
    help_format="markdown",
    exit_on_error=False,
    result_action="return_value",
)
for _name, _place in {
    "node": "node:node",
    "member": "member:app",
    "raftadmin": "raftadmin:raftadmin",
    "cluster": "cluster:app",
    "session": "session:app",
    "instrument": "instrument:app",
    "submit": "orders:submit",
    "cancel": "orders:cancel",
    "reduce": "orders:reduce",
    "replace": "orders:replace",
    "order": "orders:order",
    "quote": "quote:quote",
    "book": "book:book",
    "demo": "demo:demo",
    "replay": "replay:replay",
    "simulate": "simulate:simulate",
    "chaos": "chaos:chaos",
}.items():
    app.command(f"matchengine.cli.{_place}", name=_name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (see :class:`matchengine.cli.exits.Exit`)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] in app.help_flags:
        _import_all()
    try:
        return explained(app)(words)
    except CycloptsError:
        return Exit.USAGE  # it has been printed


def raftadmin() -> int:
    """The command of this name, by itself."""
    return main(["raftadmin", *sys.argv[1:]])


def _import_all() -> None:
    """The list of commands shows what each one says of itself."""
    for name in app:
        _ = app[name]


if __name__ == "__main__":
    sys.exit(main())
