"""What can go wrong with a replay, apart from differences."""

from __future__ import annotations

from matchengine.errors import MatchEngineError


class InputError(MatchEngineError):
    """The recording, or an option about it, is not usable; the text names the place, the value and the rule."""


class AnswerError(MatchEngineError):
    """An answer of the exchange is not what the layout promises."""
