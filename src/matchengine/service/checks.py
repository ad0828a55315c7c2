"""Rules on what clients send, checked before anything is proposed."""

from __future__ import annotations

from matchengine.service.errors import InvalidArgumentError


def require_positive(field: str, value: int) -> None:
    """Session ids and sequences count from 1; 0 is what a client that forgot the field sends."""
    if value < 1:
        raise InvalidArgumentError(f"{field}: {value} is not above 0")


def require_at_most(field: str, value: int, limit: int, unit: str, advice: str = "") -> None:
    """Bound a size; ``advice`` says what the client can do instead."""
    if value > limit:
        raise InvalidArgumentError(f"{field}: {value} {unit} are above the limit of {limit}{advice}")


def check_numbering(session_id: int, sequence: int, acknowledged: int) -> None:
    """The three numbers that every command of a session carries."""
    require_positive("session_id", session_id)
    require_positive("sequence", sequence)
    if acknowledged >= sequence:
        raise InvalidArgumentError(
            f"acknowledged: {acknowledged} is not below the sequence {sequence}, whose answer is yet to come"
        )
