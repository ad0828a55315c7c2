"""Client sessions around any state machine: every command takes effect exactly once.

The scheme is section 6.3 of Ongaro's thesis.  A client opens a session through the log and numbers
its commands from 1 without gaps.  The machine keeps the answer to each command until the client
acknowledges it, so a retry, through whatever leader, gets the first answer again.  An unknown or
expired session is refused, never executed.  Time is the greatest stamp seen in the log, so all
replicas expire the same sessions at the same entry.
"""

from matchengine.sessions.envelopes import (
    ANSWER,
    ENVELOPE,
    LEVELS,
    MAX_CLIENT_NAME_BYTES,
    EnvelopeKind,
    SessionAnswer,
    SessionStatus,
    close_envelope,
    command_envelope,
    decode_answer,
    encode_answer,
    expire_envelope,
    keep_alive_envelope,
    open_envelope,
    raise_levels_envelope,
)
from matchengine.sessions.machine import SessionMachine
from matchengine.sessions.table import SessionLimits

__all__ = [
    "ANSWER",
    "ENVELOPE",
    "LEVELS",
    "MAX_CLIENT_NAME_BYTES",
    "EnvelopeKind",
    "SessionAnswer",
    "SessionLimits",
    "SessionMachine",
    "SessionStatus",
    "close_envelope",
    "command_envelope",
    "decode_answer",
    "encode_answer",
    "expire_envelope",
    "keep_alive_envelope",
    "open_envelope",
    "raise_levels_envelope",
]
