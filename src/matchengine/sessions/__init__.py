"""Client sessions around any state machine: every command takes effect exactly once.

The scheme is section 6.3 of Ongaro's thesis.  A client opens a session through the log and numbers
its commands from 1 without gaps.  The machine keeps the answer to each command until the client
acknowledges it, so a retry, through whatever leader, gets the first answer again.  An unknown or
expired session is refused, never executed.  Which sessions end, and when, is decided by entries of the
log, so all replicas end the same ones at the same entry.
"""

from matchengine.sessions.bounded import Ending, EndReason
from matchengine.sessions.envelopes import (
    ANSWER,
    ENVELOPE,
    LEVELS,
    MAX_CLIENT_NAME_BYTES,
    MAX_SESSION_ID,
    EnvelopeKind,
    LastEntry,
    SessionAnswer,
    SessionStatus,
    close_envelope,
    command_envelope,
    decode_answer,
    encode_answer,
    end_named_envelope,
    end_session_envelope,
    expire_envelope,
    expire_sessions_envelope,
    keep_alive_envelope,
    open_envelope,
    raise_levels_envelope,
)
from matchengine.sessions.idle import IdleWatch
from matchengine.sessions.machine import SessionInfo, SessionMachine
from matchengine.sessions.table import LIMITS, SessionLimits

__all__ = [
    "ANSWER",
    "ENVELOPE",
    "LEVELS",
    "LIMITS",
    "MAX_CLIENT_NAME_BYTES",
    "MAX_SESSION_ID",
    "EndReason",
    "Ending",
    "EnvelopeKind",
    "IdleWatch",
    "LastEntry",
    "SessionAnswer",
    "SessionInfo",
    "SessionLimits",
    "SessionMachine",
    "SessionStatus",
    "close_envelope",
    "command_envelope",
    "decode_answer",
    "encode_answer",
    "end_named_envelope",
    "end_session_envelope",
    "expire_envelope",
    "expire_sessions_envelope",
    "keep_alive_envelope",
    "open_envelope",
    "raise_levels_envelope",
]
