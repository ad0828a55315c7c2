"""Fuzzing led by coverage: ``python tests/fuzz/deeper.py SECONDS [DECODER...]``, each decoder in a process of its own.

Needs atheris; ``make fuzz`` installs it.  An input that breaks a decoder is printed as hex: put it into ``found.py``.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["matchengine"]):
    from decoders import DECODERS


def fuzz(name: str, seconds: str) -> None:
    """Never returns: libFuzzer ends the process, with 0 unless an input broke the decoder."""
    decoder = DECODERS[name]

    def once(data: bytes) -> None:
        try:
            decoder.check(data)
        except Exception:
            print(f"{name}: {data.hex()}", flush=True)
            raise

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        changed = atheris.Mutate(data, largest)
        return decoder.repair(changed)[:largest] if seed % 3 else changed

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(decoder.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        limits = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=2048", "-timeout=20", "-verbosity=1"]
        atheris.Setup([sys.argv[0], *limits, corpus], once, custom_mutator=mutate)
        atheris.Fuzz()


def main() -> int:
    """Fuzz all decoders one after the other."""
    logging.getLogger("matchengine").setLevel(logging.ERROR)
    seconds, *names = sys.argv[1:]
    if len(names) == 1:
        fuzz(names[0], seconds)
    failed = []
    for name in names or DECODERS:
        done = subprocess.run([sys.executable, __file__, seconds, name], capture_output=True, text=True, check=False)
        runs = [line for line in done.stderr.splitlines() if line.startswith(("Done ", "DONE"))] or ["no result"]
        print(f"{name}: {runs[-1] if not done.returncode else done.stdout + done.stderr[-2000:]}", flush=True)
        failed += [name] * bool(done.returncode)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
