"""What the exchange's kernel was built to: machine code, or plain Python that does the same."""

from __future__ import annotations

from pathlib import Path

from matchengine.errors import MatchEngineError
from matchengine.exchange import kernel
from matchengine.exchange.engine import IS_COMPILED

_FOLDER = Path(kernel.__file__).parent
#: Stands in a checkout of the sources only.
_SETUP = _FOLDER.parents[3] / "setup.py"


def describe() -> str:
    """``compiled`` or ``plain Python``, for people."""
    return "compiled" if IS_COMPILED else "plain Python, slow: it could not be compiled"


def is_stale() -> bool:
    """Whether this is a checkout in which the compiled kernel is older than its source.

    Python prefers what is compiled, so changes of the source would be without effect.
    """
    if not (_SETUP.exists() and IS_COMPILED):
        return False
    compiled = min(file.stat().st_mtime for file in _FOLDER.glob("*.so"))
    return any(file.stat().st_mtime > compiled for file in _FOLDER.glob("*.py"))


def require_fresh() -> None:
    """Raise MatchEngineError where :func:`is_stale`."""
    if is_stale():
        raise MatchEngineError("the compiled kernel is older than its source; run make kernel")
