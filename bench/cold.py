"""Measure how long commands take from a cold start, compared with a bare interpreter: `python -m bench.cold`.

Each command runs in a new process; the cases alternate, so that other load on the machine affects all of them. Writes
cold.json into bench/results. Only the process is cold, not the disk: a first round fills the system's cache and
compiles modules to bytecode, as installing a package does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
ROUNDS = 20
BARE = "bare python"
SEARCH = ("search", "--preset", "densenet-cifar", "--max-params", "1M", "--max-macs", "150M")
CASES = {
    BARE: ("-c", "pass"),
    "import numpy": ("-c", "import numpy"),
    "import nnmass": ("-c", "import nnmass"),
    "nnmass --help": ("-m", "nnmass", "--help"),
    "nnmass search": ("-m", "nnmass", *SEARCH),
    "nnmass search --json": ("-m", "nnmass", *SEARCH, "--json"),
}


class Taken(NamedTuple):
    """The time of one process: elapsed seconds and processor seconds."""

    seconds: float
    cpu_seconds: float


def run(arguments: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Taken:
    """Run a process once. Raises RuntimeError when it fails."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    return Taken(seconds, used.ru_utime + used.ru_stime)


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the times of each case: medians and quartiles over rounds, after a first one that does not count."""
    taken: dict[str, list[Taken]] = {name: [] for name in CASES}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="nnmass-bytecode-") as folder:
        for _ in range(rounds + 1):
            for name, arguments in CASES.items():
                taken[name].append(run(arguments, kept | {"PYTHONPYCACHEPREFIX": folder}))
    return {name: _summary(times[1:], taken[BARE][1:]) for name, times in taken.items()}


def _summary(times: list[Taken], bare: list[Taken]) -> dict[str, Any]:
    ratios = [one.seconds / other.seconds for one, other in zip(times, bare, strict=True)]
    return {
        "seconds": _spread([one.seconds for one in times]),
        "cpu_seconds": _spread([one.cpu_seconds for one in times]),
        "times_bare": round(statistics.median(ratios), 2),
    }


def _spread(values: list[float]) -> dict[str, float]:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    found = {"median": statistics.median(values), "low": low, "high": high, "least": min(values)}
    return {name: round(value, 4) for name, value in found.items()}


def table_of(cases: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| cold start of | median | quartiles | of CPU | times a bare interpreter |", "|---|--:|--:|--:|--:|"]
    for name, case in cases.items():
        seconds, cpu = case["seconds"], case["cpu_seconds"]["median"]
        quartiles = f"{seconds['low']:.3f} to {seconds['high']:.3f}"
        lines.append(f"| {name} | {seconds['median']:.3f} s | {quartiles} | {cpu:.3f} s | {case['times_bare']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    versions = {"python": platform.python_version(), "machine": platform.machine(), "processors": os.cpu_count()}
    cases = measure(given.rounds)
    given.results.mkdir(parents=True, exist_ok=True)
    found = {"versions": versions, "rounds": given.rounds, "cases": cases}
    (given.results / "cold.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table_of(cases))


if __name__ == "__main__":
    main()
