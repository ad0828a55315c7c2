"""``matchengine chaos``."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from matchengine.chaos.engines import engines_named
from matchengine.chaos.run import Options, run_chaos
from matchengine.chaos.sandbox import run_inside, what_is_missing
from matchengine.chaos.schedule import LANES, lanes_named
from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run, stop_at_eof
from matchengine.cli.options import Json, Whole
from matchengine.cluster.local import require_engine

_HIDDEN = Parameter(negative="", show=False)
_ALL_FAULTS: Final = ",".join(lane.name for lane in LANES)


def chaos(
    *,
    minutes: float = 1.0,
    seed: Whole = 0,
    nodes: Whole = 3,
    clients: Whole = 8,
    rate: Whole = 100,
    engine: str = "matchengine",
    faults: str = _ALL_FAULTS,
    json: Json = False,
    work_dir: Path | None = None,
    history: Path | None = None,
    inside: Annotated[bool, _HIDDEN] = False,
) -> int:
    """Real processes under real faults while clients trade and read; then the whole history is judged.

    Example: `matchengine chaos --minutes 1 --seed 7`

    Needs root and iproute2: every node gets a network namespace and a small disk of its own.  Progress goes to
    stderr.  Exit code 0 only when nothing was lost or doubled, the history is linearizable, all nodes agree and
    none ended by itself; 1 when something of that does not hold or could not be decided; 3 without namespaces.

    Parameters
    ----------
    minutes
        How long there are faults.
    seed
        Chooses faults and orders; 0 takes a new one, which is printed.
    nodes
        Voters at the start; there is room for one more.
    clients
        How many trade and read.
    rate
        Calls per second of all clients together.
    engine
        What the nodes run on, dealt in turn where several are named, separated by commas: matchengine, hashicorp.
    faults
        Which sorts of faults, separated by commas: processes, network, operator, clients.  With
        `network,clients` every node has one long life, whose memory, descriptors and threads must not go on rising.
    json
        Print one JSON object as the last line.
    work_dir
        Where the nodes' throw-away disks go; must be on a disk.
    history
        Write every call with its times and its result to this file, as JSON, one a line.

    """
    limits = (("minutes", minutes, 0.05, 24 * 60), ("nodes", nodes, 3, 7), ("clients", clients, 1, 64))
    for name, value, low, high in (*limits, ("rate", rate, 1, 2000), ("seed", seed, 0, 2**63 - 1)):
        if not low <= value <= high:
            complain(f"--{name} {value:g} is not from {low:g} to {high:g}")
            return Exit.USAGE
    engines = engines_named(engine.split(","))
    if any(each.name == "hashicorp" for each in engines):
        require_engine("hashicorp")
    try:
        lanes = lanes_named(faults.split(","))
    except ValueError as error:
        complain(f"--{error}")
        return Exit.USAGE
    seed = seed or secrets.randbelow(2**31) + 1
    options = Options(minutes, seed, nodes, clients, rate, engines, work_dir, history, lanes)
    if inside:
        stop_at_eof()
        return run_and_print(options, json=json)
    missing = what_is_missing()
    if missing:
        complain(f"chaos: {missing}")
        return Exit.ENVIRONMENT
    return run_inside(_same_command(options, engine, faults, json=json))


def run_and_print(options: Options, *, json: bool) -> int:
    """The run itself, in a sandbox already."""
    complain(f"chaos: seed {options.seed}")
    report = run(run_chaos(options, _tell))
    print(msgspec.json.encode(report).decode() if json else report.text(), flush=True)
    return Exit.OK if report.good else Exit.FAILED


def _same_command(options: Options, engine: str, faults: str, *, json: bool) -> list[str]:
    command = [sys.executable, "-m", "matchengine.cli.main", "chaos", "--inside", "--engine", engine]
    command += ["--faults", faults]
    for name in ("minutes", "seed", "nodes", "clients", "rate"):
        command += [f"--{name}", str(getattr(options, name))]
    for name in ("work_dir", "history"):
        value = getattr(options, name)
        command += [f"--{name.replace('_', '-')}", str(value)] if value else []
    return [*command, "--json"] if json else command


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
