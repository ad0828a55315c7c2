"""Which branches of a package a piece of work reaches, where the coverage package is installed."""

from __future__ import annotations

import json
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class BranchCoverage:
    """A context; afterwards ``text`` says how many branches were reached, "" where nobody can look."""

    def __init__(self, package: str) -> None:
        self.works = find_spec("coverage") is not None
        self.text = ""
        self._package = package
        self._coverage: Any = None

    def __enter__(self) -> Self:
        if self.works:
            module = import_module("coverage")
            self._coverage = module.Coverage(
                data_file=None, branch=True, source_pkgs=[self._package], config_file=False
            )
            self._coverage.set_option("run:disable_warnings", ["module-not-measured", "already-imported"])
            self._coverage.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._coverage is None:
            return
        self._coverage.stop()
        if error is None:
            self.text = self._describe()

    def _describe(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "coverage.json")
            self._coverage.json_report(outfile=str(place))
            report = json.loads(place.read_text())
        totals = report["totals"]
        reached, all_of_them = totals["covered_branches"], totals["num_branches"]
        missed = [
            f"{Path(name).name}:{', '.join(str(start) for start, _ in file['missing_branches'])}"
            for name, file in sorted(report["files"].items())
            if file.get("missing_branches")
        ]
        share = 100 * reached / max(1, all_of_them)
        return f"{reached} of {all_of_them} branches of {self._package} ({share:.1f} %); not: {' '.join(missed) or '-'}"
