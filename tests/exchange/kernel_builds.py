"""The engine over both builds of the kernel: compiled, where it is, and plain Python."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

import matchengine.exchange
from matchengine.exchange.engine import IS_COMPILED, MatchingEngine

FOLDER = Path(matchengine.exchange.__file__).parent
KERNEL = "matchengine.exchange.kernel"
ENGINE = "matchengine.exchange.engine"


class SourceOnly(PathFinder):
    """Finds the kernel's modules as source, compiled or not."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if not fullname.startswith(f"{KERNEL}."):
            return None
        file = FOLDER / "kernel" / f"{fullname.rpartition('.')[2]}.py"
        return spec_from_file_location(fullname, file, loader=SourceFileLoader(fullname, str(file)))


def uncompiled():
    """The modules of the engine and its kernel as plain Python, by name; those in use stay in use."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name == ENGINE or name.startswith(KERNEL)}
    sys.meta_path.insert(0, SourceOnly)
    try:
        importlib.import_module(ENGINE)
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name == ENGINE or name.startswith(KERNEL)}
    finally:
        sys.meta_path.remove(SourceOnly)
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, attribute = name.rpartition(".")
            setattr(sys.modules[parent], attribute, module)


PLAIN = uncompiled()


@contextmanager
def limited_work(build, work):
    """Let executions of ``build`` do at most ``work`` commands and fills in one step."""
    module = PLAIN[ENGINE] if build is PLAIN[ENGINE].MatchingEngine else sys.modules[ENGINE]
    kept, module._WORK = module._WORK, work
    try:
        yield
    finally:
        module._WORK = kept


if os.environ.get("MATCHENGINE_REQUIRE_COMPILED") == "1" and not IS_COMPILED:
    raise RuntimeError("the kernel is not compiled; MATCHENGINE_REQUIRE_COMPILED asks for it")

#: Every build that there is; where the kernel is not compiled, both names would mean the same.
BUILDS = {"plain": PLAIN[ENGINE].MatchingEngine} | ({"compiled": MatchingEngine} if IS_COMPILED else {})
