"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeAlias

from cyclopts import Parameter, Token

DEFAULT_ADDRESSES = "127.0.0.1:50051"
_MOST_DIGITS = 30
_SHOWN = 40

Addresses: TypeAlias = Annotated[
    str,
    Parameter(
        name=("--addresses", "--target"),
        env_var="MATCHENGINE_ADDRESSES",
        help="Nodes as host:port, separated by commas, with or without `multi:///` before them; "
        "one that answers is enough.",
    ),
]
Json: TypeAlias = Annotated[bool, Parameter(negative="", help="Print JSON.")]


def whole(low: int | None = None, high: int | None = None, name: str = "") -> Parameter:
    """What takes whole numbers only: the parser alone would silently make 2 of 1.5.  An argument needs its ``name``."""
    rule = "a whole number" if low is None or high is None else f"a whole number from {low} to {high}"

    def convert(_: type, tokens: Sequence[Token]) -> int:
        text, place = tokens[0].value, "" if tokens[0].keyword else f"{name} "
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
            raise ValueError(f"{place}{text[:_SHOWN]!r} is not {rule}")
        number = int(text)
        if (low is not None and number < low) or (high is not None and number > high):
            raise ValueError(f"{place}{number} is not {rule}")
        return number

    converter: Callable[..., int] = convert
    return Parameter(converter=converter)


Whole: TypeAlias = Annotated[int, whole()]
OrderName: TypeAlias = Annotated[int, whole(1, 2**64 - 1, "ID")]
#: A client order id where only a keyword names it.
OptionalOrderName: TypeAlias = Annotated[int, whole(0, 2**64 - 1)]
Account: TypeAlias = Annotated[int, whole(0, 2**32 - 1), Parameter(help="The account that trades.")]
