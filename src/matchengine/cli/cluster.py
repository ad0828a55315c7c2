"""``matchengine cluster status`` and ``matchengine cluster upgrade``."""

from __future__ import annotations

from textwrap import fill
from typing import Annotated, Final, TypeAlias

import msgspec
from cyclopts import App, Parameter
from rich.table import Table

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Json
from matchengine.cli.show import console
from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.leader import LeaderFinder
from matchengine.client.pipeline import TIMEOUT_S
from matchengine.client.standing import ClusterStanding, Standing, Suffrage, look
from matchengine.client.targets import target_addresses
from matchengine.levels import Levels
from matchengine.v1.cluster_pb2 import FeatureLevels, UpgradeResponse

_PATIENCE_S: Final = 10.0
_HASH_DIGITS: Final = 8
_HEADERS: Final = ("id", "address", "role", "term", "applied", "lag", "heard", "hash")
_NUMBERS: Final = ("term", "applied", "lag", "heard")
#: Times longer than these many milliseconds are shown in seconds.
_LONG_MS: Final = 10_000

Target: TypeAlias = Annotated[
    str,
    Parameter(
        name=("--target", "--addresses"),
        env_var="MATCHENGINE_ADDRESSES",
        help="Nodes as host:port, separated by commas, with or without `multi:///` before them.",
    ),
]

app = App(name="cluster", help="See how a cluster stands, and raise its feature level.", result_action="return_value")


@app.command
def status(*, target: Target = DEFAULT_ADDRESSES, json: Json = False) -> int:
    """Show how the named nodes and all other members stand; with JSON, one object per line.

    Example: `matchengine cluster status --target multi:///127.0.0.1:50051,127.0.0.1:50052`

    `lag` is what the leader has committed and the node has not applied, `heard` how long ago it heard a leader.
    State hashes are compared at an index that all nodes have applied; `-` is a node that tells none.
    Exit code 1 without a leader or with hashes that differ, 3 when no node answers, 4 when a voter does not.
    """
    addresses = target_addresses(target)
    found = run(_look(addresses))
    if json:
        for node in found.nodes:
            print(msgspec.json.encode(node).decode())
    else:
        console().print(_table(found))
        for line in (_quorum_line(found), _levels_line(found)):
            print(line)
    return _verdict(found)


@app.command
def upgrade(
    *,
    level: str = "",
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    target: Target = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Raise the cluster's feature level, once every member runs a program that can execute it.

    Example: `matchengine cluster upgrade --target 127.0.0.1:50051,127.0.0.1:50052`

    There is no way back: programs that are too old for the level stop at it, and no longer start in this cluster.
    Exit code 1, and nothing has changed, when a member cannot or does not answer; 3 when no leader is found.

    Parameters
    ----------
    level
        The level to put in force, as `1.0`; by default the highest that every member can execute.
    dry_run
        Ask the members, and change nothing.

    """
    levels = Levels.parse(level) if level else None
    done = run(_upgrade(target_addresses(target), levels, dry_run))
    if json:
        print(msgspec.json.encode(_report(done, dry_run)).decode())
        return Exit.OK
    print(_upgrade_line(done, dry_run))
    for member in done.members:
        print(f"  {member.id} at {member.address} executes up to {_text(member.newest)}")
    return Exit.OK


def _report(done: UpgradeResponse, dry_run: bool) -> dict[str, object]:
    members = [{"id": m.id, "address": m.address, "newest_level": _text(m.newest)} for m in done.members]
    levels = {"before": _text(done.before), "after": _text(done.after)}
    return {**levels, "index": done.index, "dry_run": dry_run, "members": members}


async def _upgrade(addresses: tuple[str, ...], levels: Levels | None, dry_run: bool) -> UpgradeResponse:
    channels = Channels()
    try:
        leader = await LeaderFinder(addresses, channels).find(TIMEOUT_S)
        return await Admin(channels).upgrade(leader, levels, dry_run=dry_run)
    finally:
        await channels.close()


def _upgrade_line(done: UpgradeResponse, dry_run: bool) -> str:
    before, after = _text(done.before), _text(done.after)
    if before == after:
        return f"feature level {after} is in force already"
    if dry_run:
        return f"feature level {before} is in force; it can be raised to {after}"
    return f"feature level {after} is in force since index {done.index}; it was {before}"


def _text(levels: FeatureLevels) -> str:
    return str(Levels(levels.library, levels.machine))


def _levels_line(found: ClusterStanding) -> str:
    """Feature levels: what is in force where most has been applied, and what each node can execute."""
    ahead = max(found.nodes, key=lambda node: node.applied if node.level else -1, default=None)
    by_level: dict[str, list[str]] = {}
    for node in found.nodes:
        by_level.setdefault(node.newest_level or "-", []).append(node.id or node.address)
    newest = "; ".join(f"{level} by {', '.join(names)}" for level, names in by_level.items())
    line = f"feature level {ahead.level if ahead and ahead.level else '-'}; executed up to {newest}"
    return fill(line, 80, subsequent_indent="  ")


async def _look(addresses: tuple[str, ...]) -> ClusterStanding:
    channels = Channels()
    try:
        return await look(Admin(channels), addresses, _PATIENCE_S)
    finally:
        await channels.close()


def _verdict(found: ClusterStanding) -> int:
    if not any(node.answers for node in found.nodes):
        complain("no node answers")
        return Exit.ENVIRONMENT
    if found.leader is None:
        complain("no node leads")
        return Exit.FAILED
    if found.differing_index:
        complain(f"state hashes differ at index {found.differing_index}")
        return Exit.FAILED
    if not found.is_settled:
        complain("state hashes were not compared: the nodes were at no common index in time")
    silent = [node.id or node.address for node in found.voters if not node.answers]
    if silent:
        complain(f"voters that do not answer: {', '.join(silent)}")
        return Exit.DEGRADED
    return Exit.OK


def _quorum_line(found: ClusterStanding) -> str:
    """How many voters there are, how many must run, and how many more may fail."""
    voters, answering = len(found.voters), sum(node.answers for node in found.voters)
    if not voters:
        return "the members are not known without a leader"
    return f"{voters} voters, quorum {found.quorum}; {answering} answer, so {found.may_fail} more may fail"


def _table(found: ClusterStanding) -> Table:
    table = Table(box=None, pad_edge=False)
    for header in _HEADERS:
        table.add_column(header, justify="right" if header in _NUMBERS else "left", overflow="fold")
    for node in found.nodes:
        table.add_row(*_row(node))
    return table


def _row(node: Standing) -> tuple[str, ...]:
    head = (node.id, node.address, _role(node))
    if not node.answers:
        return head
    lag = "-" if node.lag is None else str(node.lag)
    return (*head, str(node.term), str(node.applied), lag, _age(node.last_contact_ms), node.state_hash[:_HASH_DIGITS])


def _role(node: Standing) -> str:
    """What a node is: its part in the configuration comes before what it takes itself for."""
    if node.suffrage is Suffrage.NONE:
        return "non-member"
    if node.suffrage is Suffrage.NONVOTER and node.answers:
        return "nonvoter"
    return node.role.replace("_", "-")


def _age(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "never"
    return f"{milliseconds:.0f} ms" if milliseconds < _LONG_MS else f"{milliseconds / 1000:.0f} s"
