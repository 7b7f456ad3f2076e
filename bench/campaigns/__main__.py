"""Replay campaigns on public benchmarks, print the table, and write campaigns.json, .md and .svg into bench/results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.campaigns.plots import plot_shortfall
from bench.campaigns.replays import SEEDS, SLOW, replay
from bench.campaigns.tables import tables
from bench.replay.benchmarks import read

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Replay, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the files of the benchmarks")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each way to choose networks")
    parser.add_argument("--slow-seeds", type=int, default=SEEDS, help=f"of: {SLOW}")
    parser.add_argument("--kept", type=Path, help="a file that keeps finished parts, to go on after a break")
    parser.add_argument("--as-kept", action="store_true", help="write what that file has, and replay nothing more")
    parser.add_argument("--only", action="append", default=[], help="replay one way alone, print it, write nothing")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    only = tuple(given.only)
    found = replay(read(given.data), given.seeds, given.slow_seeds, given.kept, only, as_kept=given.as_kept)
    if only:
        print(json.dumps(found["ways"], indent=1))
        return
    text = "\n".join(f"## {name.capitalize()}\n\n{table}" for name, table in tables(found).items())
    print(text)
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "campaigns.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.results / "campaigns.md").write_text(f"# Replays of campaigns, all tables\n\n{text}")
    plot_shortfall(found, given.results / "campaigns.svg")


if __name__ == "__main__":
    main()
