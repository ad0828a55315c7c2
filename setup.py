"""Compiles the kernel of the exchange by mypyc; everything else is in pyproject.toml.

Where it cannot be compiled (no C compiler, no headers of Python), the build goes on without: the kernel is plain
Python, too, only slower.  ``MATCHENGINE_COMPILE=0`` leaves it uncompiled, ``MATCHENGINE_COMPILE=1`` makes a failure
end the build.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNEL = Path("src/matchengine/exchange/kernel")
GROUP = "matchengine.exchange.kernel.native"
COMPILE = os.environ.get("MATCHENGINE_COMPILE", "")
#: Nothing outside sees the kernel's functions, so they may be inlined; a third faster than without.
FLAGS = ["-fvisibility=hidden", "-fno-semantic-interposition", "--param", "max-inline-insns-auto=120"]


def extensions(folder: str) -> list[Extension]:
    """The kernel's modules, translated to C in ``folder``."""
    if COMPILE == "0":
        return []
    try:
        from mypyc.build import mypycify  # noqa: PLC0415 - it may be missing
    except ImportError as error:
        give_up(error)
        return []
    modules = sorted(str(path) for path in KERNEL.glob("*.py") if path.name != "__init__.py")
    # The kernel imports nothing of the package but itself, so no other dependency is needed to check its types.
    options = ["--config-file=", "--strict", "--follow-imports=skip", f"--cache-dir={folder}/types"]
    built = mypycify([*options, *modules], group_name=GROUP, target_dir=folder)
    for extension in built:
        extension.optional = COMPILE != "1"
    # All share one list of flags.
    built[0].extra_compile_args += FLAGS
    return built


def give_up(reason: object) -> None:
    """Say that the kernel stays uncompiled, or end the build."""
    print(f"matchengine: the kernel is not compiled and will be slower: {reason}", file=sys.stderr)
    if COMPILE == "1":
        raise SystemExit(1)


class BuildKernel(build_ext):
    """Leaves all modules compiled or none: a part of them could not be imported."""

    def run(self) -> None:
        """Compile, and take everything back if anything is missing."""
        super().run()
        places = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions]
        if all(place.exists() for place in places):
            return
        give_up("the C compiler failed, see above")
        for place in places:
            place.unlink(missing_ok=True)


with tempfile.TemporaryDirectory(prefix="matchengine-build-") as scratch:
    setup(
        ext_modules=extensions(scratch),
        cmdclass={"build_ext": BuildKernel},
        # A folder of its own: a lasting one would carry files of earlier builds into the wheel.
        options={"build": {"build_base": scratch}},
    )
