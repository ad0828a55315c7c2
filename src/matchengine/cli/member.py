"""``matchengine member add``, ``remove`` and ``list``."""

from __future__ import annotations

from cyclopts import App
from rich.table import Table

from matchengine.cli.exits import Exit
from matchengine.cli.leader import at_leader
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Addresses, Json
from matchengine.cli.show import console, to_json
from matchengine.client.admin import Admin
from matchengine.client.pipeline import TIMEOUT_S
from matchengine.errors import RefusedError
from matchengine.runtime.config import check_address, check_reachable
from matchengine.wire.raft_admin_pb2 import GetConfigurationResponse

app = App(name="member", help="Add a node to a cluster, remove one, or list its members.", result_action="return_value")


@app.command
def add(id: str, address: str, /, *, addresses: Addresses = DEFAULT_ADDRESSES) -> int:  # noqa: A002
    """Make a running node a voting member; waits for it to answer, because an absent voter can stop a small cluster.

    Refused when another node, or a member of another cluster, answers there.

    Example: `matchengine member add nodeB 127.0.0.1:50052`

    Parameters
    ----------
    id
        The new node's id.
    address
        Where the others reach it.

    """
    if not id:
        raise ValueError("id: '' is empty; it names the new node")
    check_address("address", address)
    check_reachable("address", address)

    async def add_it(admin: Admin, leader: str) -> int:
        await admin.until_joinable(leader, id, address, TIMEOUT_S)
        return await admin.add_voter(leader, id, address)

    index = run(at_leader(addresses, add_it))
    print(f"{id} is a voter since index {index}")
    return Exit.OK


@app.command
def remove(id: str, /, *, addresses: Addresses = DEFAULT_ADDRESSES) -> int:  # noqa: A002
    """Take a member out of the cluster.  Its process goes on until it is stopped, and must not be started again.

    Example: `matchengine member remove nodeB`

    Exit code 1 when the cluster has no such member, or when it is the last voter.

    Parameters
    ----------
    id
        The member's id.

    """

    async def remove_it(admin: Admin, leader: str) -> int:
        members = [server.id for server in (await admin.configuration(leader)).servers]
        if id not in members:
            raise RefusedError(f"id: {id!r} is not one of the members {', '.join(members)}")
        return await admin.remove_server(leader, id)

    index = run(at_leader(addresses, remove_it))
    print(f"{id} is not a member since index {index}")
    return Exit.OK


@app.command(name="list")
def list_(*, addresses: Addresses = DEFAULT_ADDRESSES, json: Json = False) -> int:
    """List the members of the cluster.

    Example: `matchengine member list`
    """
    found = run(at_leader(addresses, lambda admin, leader: admin.configuration(leader)))
    if json:
        print(to_json(found))
        return Exit.OK
    table = Table("id", "address", "suffrage")
    for server in found.servers:
        suffrage = GetConfigurationResponse.Server.Suffrage.Name(server.suffrage)
        table.add_row(server.id, server.address, suffrage.lower())
    console().print(table)
    return Exit.OK
