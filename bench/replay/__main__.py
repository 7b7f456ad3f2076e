"""Replay searches on public benchmarks, print the tables, and write replay.json and replay.md into bench/results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.replay.benchmarks import read
from bench.replay.compressions import compressions
from bench.replay.correlations import RESAMPLES, correlations
from bench.replay.pairs import pairs
from bench.replay.picks import picks, picks_by_benchmark
from bench.replay.tables import tables

# untyped: results, as JSON holds them

RESULTS = Path(__file__).parents[1] / "results"


def results(folder: Path, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return everything that the replay finds, as JSON-ready objects.

    Args:
        folder: The folder with the files of the benchmarks.
        resamples: Of the networks for each interval; 0 gives none.

    Raises:
        FileNotFoundError: The folder has no such file.
    """
    benchmarks = read(folder)
    return {
        "correlations": {one.name: {"networks": len(one), "rho": correlations(one, resamples)} for one in benchmarks},
        "picks": picks(benchmarks),
        "picks_by_benchmark": picks_by_benchmark(benchmarks),
        "compressions": {one.name: compressions(one) for one in benchmarks if one.stages is not None},
        "pairs": pairs(folder),
    }


def main() -> None:
    """Replay, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the files of the benchmarks")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the networks, for each interval")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    found = results(given.data, given.resamples)
    text = "\n".join(f"## {name[:1].upper()}{name[1:]}\n\n{table}" for name, table in tables(found).items())
    print(text)
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "replay.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.results / "replay.md").write_text(f"# Replays of public benchmarks, all tables\n\n{text}")


if __name__ == "__main__":
    main()
