"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

DEFAULT_ADDRESSES = "127.0.0.1:50051"

Addresses: TypeAlias = Annotated[
    str,
    Parameter(
        env_var="MATCHENGINE_ADDRESSES", help="host:port of nodes, separated by commas; one that answers is enough."
    ),
]
Json: TypeAlias = Annotated[bool, Parameter(negative="", help="Print JSON.")]
Account: TypeAlias = Annotated[int, Parameter(help="The account that trades.")]
