"""Run every method on every case, each in a new process on one core, one after another: `python -m bench.run`.

Writes search.json, search.md and the plots search.svg and growth.svg into bench/results.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.cases import CASES
from bench.growth import GROWTH
from bench.one import METHODS
from bench.tables import cases_table, growth_table, scoring_line

RESULTS = Path(__file__).parent / "results"
GRACE_SECONDS = 120.0
"""The time that a method may take beyond its limit, for imports, tables and its model."""


def measure(case: str, method: str, seconds: float) -> dict[str, Any]:
    """Run one method on one case in a new process and return its result. Raises the error of the process."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.one", case, method, "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + GRACE_SECONDS)
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER "))
    answer: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
    print(f"{case:22} {method:14} {answer['value']!s:20} {answer['seconds']:9.3f} s", flush=True)
    return answer


def scoring() -> dict[str, Any]:
    """Measure how many architectures per second the array interface scores, in a new process."""
    command = [sys.executable, "-m", "bench.scoring"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=GRACE_SECONDS)
    line, figures = done.stdout.splitlines()
    print(line, flush=True)
    found: dict[str, Any] = json.loads(figures)
    return found


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of each rival on each case")
    parser.add_argument("--cases", nargs="*", choices=CASES, help="only these, the others' results kept as they are")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    kept = json.loads((given.results / "search.json").read_text()) if given.cases else {"cases": {}}
    measured = {
        case: {method: measure(case, method, given.seconds) for method in METHODS} for case in given.cases or CASES
    }
    cases = {case: (kept["cases"] | measured)[case] for case in CASES if case in kept["cases"] | measured}
    growth = kept["growth"] if given.cases else {case: measure(case, "ours", given.seconds) for case in GROWTH}
    scored = kept["scoring"] if given.cases else scoring()
    versions = {"python": platform.python_version(), "machine": platform.machine(), "seconds": given.seconds}
    found = {"versions": versions, "cases": cases, "growth": growth, "scoring": scored}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "search.json").write_text(json.dumps(found, indent=1) + "\n")
    report = f"{cases_table(cases)}\n\n{growth_table(growth)}\n\n{scoring_line(scored)}\n"
    (given.results / "search.md").write_text(report)
    from bench.plots import plot_cases, plot_growth  # imported here: measuring a single case needs no drawing library

    plot_cases(cases, given.results / "search.svg")
    plot_growth(growth, given.results / "growth.svg")
    print(report)


if __name__ == "__main__":
    main()
