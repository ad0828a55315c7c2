"""``matchengine status``."""

from __future__ import annotations

import asyncio

from rich.table import Table

from matchengine.cli.exits import Exit
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Addresses, Json
from matchengine.cli.show import console, to_json
from matchengine.client.admin import Admin
from matchengine.client.channels import Channels
from matchengine.client.leader import parse_addresses
from matchengine.v1.cluster_pb2 import StatusResponse


def status(*, addresses: Addresses = DEFAULT_ADDRESSES, json: Json = False) -> int:
    """Show how the nodes stand; with JSON, one object per line.

    Example: `matchengine status --addresses 127.0.0.1:50051,127.0.0.1:50052`

    Exit code 3 when none of them answers.
    """
    named = parse_addresses(addresses)
    found = run(_ask(named))
    if json:
        for each in found:
            if each is not None:
                print(to_json(each))
    else:
        console().print(_table(named, found))
    return Exit.OK if any(found) else Exit.ENVIRONMENT


async def _ask(addresses: tuple[str, ...]) -> list[StatusResponse | None]:
    channels = Channels()
    try:
        admin = Admin(channels)
        return list(await asyncio.gather(*(admin.try_status(address) for address in addresses)))
    finally:
        await channels.close()


def _table(addresses: tuple[str, ...], found: list[StatusResponse | None]) -> Table:
    table = Table("address", "id", "role", "term", "leader", "applied", "committed", "fsync µs", "MiB")
    for address, each in zip(addresses, found, strict=True):
        if each is None:
            table.add_row(address, "", "no answer", *[""] * 6)
            continue
        numbers = (each.applied_index, each.commit_index, f"{each.fsync_us:.0f}", each.resident_bytes // 2**20)
        table.add_row(address, each.id, each.role, str(each.term), each.leader_id, *map(str, numbers))
    return table
