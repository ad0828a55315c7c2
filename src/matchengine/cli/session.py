"""``matchengine session list`` and ``matchengine session close``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from cyclopts import App
from rich.table import Column, Table

from matchengine.cli.exits import Exit, complain
from matchengine.cli.leader import at_leader
from matchengine.cli.loop import run
from matchengine.cli.options import DEFAULT_ADDRESSES, Addresses, Json, whole
from matchengine.cli.show import console, to_json
from matchengine.client.admin import Admin

Number: TypeAlias = Annotated[int, whole(0, 2**64 - 1, "NUMBER")]

app = App(name="session", help="List the sessions of clients, or close some.", result_action="return_value")


@app.command(name="list")
def list_(*, name: str | None = None, addresses: Addresses = DEFAULT_ADDRESSES, json: Json = False) -> int:
    """List the open sessions; with JSON, one object per line.

    Example: `matchengine session list --name desk-7`

    `number` closes a session (`matchengine session close NUMBER`) and is good for nothing else: no session can be
    used with it.  `idle` is how long ago the last entry of the session was, as the leader has seen it since it leads;
    `answers` and `bytes` are what is held for the client until it acknowledges.

    Parameters
    ----------
    name
        Only sessions of clients with this name.

    """
    found = run(at_leader(addresses, lambda admin, leader: admin.sessions(leader, client_name=name)))
    if json:
        for session in found:
            print(to_json(session))
        return Exit.OK
    numbers = (Column(header, justify="right") for header in ("number", "idle", "answers", "bytes"))
    table = Table(*numbers, Column("client", overflow="fold"))
    for session in found:
        idle = f"{session.idle_seconds:.0f} s" if session.HasField("idle_seconds") else "-"
        table.add_row(str(session.number), idle, str(session.answers), str(session.answer_bytes), session.client_name)
    console().print(table)
    return Exit.OK


@app.command
def close(
    number: Number = 0, /, *, name: str | None = None, addresses: Addresses = DEFAULT_ADDRESSES, json: Json = False
) -> int:
    """Close one session by its number, or all sessions of clients with one name.

    Example: `matchengine session close 4711`, or `matchengine session close --name desk-7`

    The answers that are held for the client are forgotten.  Its next command is refused, and it is told that an
    operator closed its session.  Exit code 1 when no such session is open.

    Parameters
    ----------
    number
        The number that `matchengine session list` shows.
    name
        Close all sessions of clients with this name, which may be empty.

    """
    if bool(number) == (name is not None):
        raise ValueError("session close: give either NUMBER or --name")

    async def close_it(admin: Admin, leader: str) -> int:
        if name is not None:
            return await admin.close_sessions_of(leader, name)
        await admin.close_session(leader, number)
        return 1

    closed = run(at_leader(addresses, close_it))
    if json:
        print(msgspec.json.encode({"closed": closed}).decode())
    elif closed:
        print(f"{closed} session{'s' if closed > 1 else ''} closed")
    if not closed:
        complain(f"name: no session of a client {name!r} is open")
        return Exit.FAILED
    return Exit.OK
