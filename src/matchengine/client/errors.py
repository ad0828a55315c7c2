"""Errors that a client meets beside those of :mod:`matchengine.errors`."""

from __future__ import annotations

from matchengine.errors import MatchEngineError


class NoLeaderError(MatchEngineError):
    """None of the addresses led, or led to, a leader within the time allowed."""


class SessionExpiredError(MatchEngineError):
    """The cluster no longer knows the session.

    Commands that were not acknowledged may or may not have taken effect; open a new client and look.
    """


class SessionClosedError(SessionExpiredError):
    """The cluster or an operator closed the session; the text says why.

    Commands that were not acknowledged may or may not have taken effect; open a new client and look.
    """


class SessionRefusedError(MatchEngineError):
    """The cluster will not serve this session; nothing further was executed.  The text says why."""
