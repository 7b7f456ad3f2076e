"""`python -m tests.chaos [--seed N] [--rows a,b] [--scale 0.1] [--plant a,b]`.

Prints a line of JSON for each row as it ends, and then the table. The exit code is 0 when every row has passed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.planted import PLANTS
from tests.chaos.report import Outcome, table
from tests.chaos.rows import ROWS, SUITES
from tests.chaos.stage import Stage

ROW_SECONDS = 240.0


async def run(stage: Stage, names: list[str], plants: list[str]) -> list[Outcome]:
    """Run rows, or for each planted bug the one that must find it. Ends all that it has started, whatever happens."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        if not plants:
            return await run_rows(stage, names)
        outcomes = []
        for plant in plants:
            await stage.replant(plant)
            outcomes.append(await run_row(stage, PLANTS[plant].row))
        return outcomes
    finally:
        await stage.close()


async def run_rows(stage: Stage, names: list[str]) -> list[Outcome]:
    """Run rows one after the other, and then those that share nothing with them, one per core concurrently."""
    outcomes = [await run_row(stage, name) for name in names if name not in SUITES]
    await stage.close()
    lanes = asyncio.Semaphore(os.cpu_count() or 1)

    async def run_concurrently(name: str) -> Outcome:
        async with lanes:
            return await run_row(stage.for_concurrent_row(), name)

    return outcomes + await asyncio.gather(*(run_concurrently(name) for name in names if name in SUITES))


async def run_row(stage: Stage, name: str) -> Outcome:
    """Run a row, report its outcome, and repair what it has broken. A row that raises has failed."""
    stage.begin(name)
    started = time.monotonic()
    try:
        async with asyncio.timeout(ROW_SECONDS):
            outcome = await ROWS[name](stage)
    except Exception as error:  # the other rows are worth running
        traceback.print_exc(limit=-2, chain=False)
        outcome = Outcome(name, reasons=[f"broke: {error!r}"])
    outcome.wall = time.monotonic() - started
    print_now(outcome.line(stage.seed, stage.plant))
    await stage.end()
    return outcome


def print_now(text: str) -> None:
    """Print immediately, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def names_of(known: Iterable[str], text: str) -> list[str]:
    """Return the names that a comma-separated list has, in the order in which they are known."""
    wanted = set(known) if text == "all" else set(text.split(","))
    if unknown := wanted - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    return [name for name in known if name in wanted]


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats an earlier run's chances")
    parser.add_argument("--rows", type=lambda text: names_of(ROWS, text), default=[*ROWS], help="only these")
    parser.add_argument("--scale", type=float, default=1.0, help="smaller rows: 0.1 for a tenth of everything")
    parser.add_argument(
        "--plant",
        type=lambda text: names_of(PLANTS, text),
        default=[],
        help="bugs, each before the rows that must find it",
    )
    arguments = parser.parse_args()
    print_now(f"seed {arguments.seed}")
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="nnmass-chaos-"))
    passed = False
    try:
        outcomes = asyncio.run(run(Stage(arguments.seed, arguments.scale, folder), arguments.rows, arguments.plant))
        passed = all(outcome.passed for outcome in outcomes)
    finally:
        if passed or arguments.plant:
            shutil.rmtree(folder)
        else:
            print_now(f"the logs are in {folder}")
    print_now(f"\n{table(outcomes)}\n\nseed {arguments.seed}, {time.monotonic() - started:.0f} s")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
