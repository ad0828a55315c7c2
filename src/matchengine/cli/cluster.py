"""``matchengine cluster status``."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter
from rich.table import Table

from matchengine.cli.exits import Exit, complain
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Json
from matchengine.cli.show import console
from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.standing import ClusterStanding, Standing, look
from matchengine.client.targets import target_addresses

_PATIENCE_S: Final = 10.0
_HASH_DIGITS: Final = 16
_HEADERS: Final = (
    *("address", "id", "role", "term", "last", "commit", "applied"),
    *("lag", "last contact", "snapshot", "state hash"),
)

app = App(name="cluster", help="See how a cluster stands.", result_action="return_value")


@app.command
def status(
    *,
    target: Annotated[
        str,
        Parameter(
            name=("--target", "--addresses"),
            env_var="MATCHENGINE_ADDRESSES",
            help="Nodes as host:port, separated by commas, with or without `multi:///` before them.",
        ),
    ] = DEFAULT_ADDRESSES,
    json: Json = False,
) -> int:
    """Show how the named nodes and all other members stand; with JSON, one object per line.

    Example: `matchengine cluster status --target multi:///127.0.0.1:50051,127.0.0.1:50052`

    State hashes are compared at an index that all nodes have applied; `-` is a node that tells none.
    Exit code 1 without a leader or with hashes that differ, 3 when no node answers.
    """
    addresses = target_addresses(target)
    found = run(_look(addresses))
    if json:
        for node in found.nodes:
            print(msgspec.json.encode(node).decode())
    else:
        console().print(_table(found))
    return _verdict(found)


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
    return Exit.OK


def _table(found: ClusterStanding) -> Table:
    table = Table(*_HEADERS)
    for node in found.nodes:
        table.add_row(*_row(node, found.lag(node)))
    return table


def _row(node: Standing, lag: int | None) -> tuple[str, ...]:
    if not node.answers:
        return (node.address, node.id, node.role)
    numbers = (node.term, node.last, node.commit, node.applied, "-" if lag is None else lag)
    rest = (node.last_contact, str(node.snapshot), node.state_hash[:_HASH_DIGITS])
    return (node.address, node.id, node.role, *map(str, numbers), *rest)
