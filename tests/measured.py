"""Which lines of the product the tests reach, where `MEASURE_COVERAGE` is set; `make coverage` reports them.

coverage.py measures with a trace function, with which Python runs every line slowly, those of libraries too.
SlipCover adds a call to each line of the product when it is imported, and removes the calls that have been made.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Measured:
    """The lines of the product that this process has reached."""

    def __init__(self) -> None:
        """Measure what is imported from now on."""
        from slipcover import FileMatcher, ImportManager, Slipcover
        from slipcover.importer import wrap_spec_from_file_location

        config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["run"]
        self._packages = [ROOT / name for name in config["source"]]
        product = FileMatcher(sources=self._packages, omit=[str(ROOT / name) for name in config["omit"]])
        self._seen = Slipcover()
        ImportManager(self._seen, product).__enter__()
        wrap_spec_from_file_location(self._seen, product)  # by which Alembic imports migrations

    def remove_calls(self) -> None:
        """Remove the calls that have been made: torch.compile cannot read them."""
        self._seen.deinstrument_seen()

    def save(self) -> None:
        """Write a data file for coverage.py, which reports the files that were never imported too."""
        from coverage import CoverageData

        data = CoverageData(basename=str(ROOT / ".coverage"), suffix=True)
        files = self._seen.get_coverage()["files"]
        data.add_lines({str(ROOT / name): found["executed_lines"] for name, found in files.items()})
        data.touch_files([str(path) for package in self._packages for path in package.rglob("*.py")])
        data.write()


measured = Measured() if os.environ.get("MEASURE_COVERAGE") else None
