"""Rows that are tests of their own, run by pytest."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from tests.chaos.processes import ROOT, Process, planted
from tests.chaos.report import Outcome
from tests.chaos.stage import Stage, until

TRAININGS = "tests/jobs/test_verification_tasks.py"
OPTIONS = ("-q", "-p", "no:cacheprovider", "--color=no")
LONGEST_SECONDS = 180.0
END_SECONDS = 30.0


async def training_resume(stage: Stage) -> Outcome:
    """A training killed in every phase ends with weights and figures equal bit for bit to those of a calm run."""
    return await _tests(stage, f"{TRAININGS}::test_a_training_killed_in_every_phase_ends_with_the_same_result")


async def bad_disk(stage: Stage) -> Outcome:
    """A disk that fills up is a clear failure with nothing torn; a checkpoint with a flipped bit is passed over."""
    return await _tests(
        stage,
        f"{TRAININGS}::test_a_full_disk_fails_the_training_and_preserves_the_last_checkpoint",
        f"{TRAININGS}::test_a_damaged_checkpoint_is_replaced_by_the_previous_one",
    )


async def hostile_bytes(stage: Stage) -> Outcome:
    """Bytes that break parsers are refused, and never with 500."""
    return await _tests(stage, "tests/api/test_bytes.py")


async def fuzz(stage: Stage) -> Outcome:
    """Requests made from the OpenAPI document get answers that are in it."""
    return await _tests(stage, "tests/api/test_fuzz.py")


async def state_machine(stage: Stage) -> Outcome:
    """Random sequences of transitions keep a job's invariants."""
    return await _tests(stage, "tests/jobs/test_state_machine.py")


async def tenants(stage: Stage) -> Outcome:
    """An owner learns and changes nothing of another's. (That the tests notice a missing filter is for `make test`.)"""
    return await _tests(stage, "tests/api/test_tenants.py", options=["-k", "not dropping"])


async def _tests(stage: Stage, *tests: str, options: Sequence[str] = ()) -> Outcome:
    """Run files of tests, or single ones. acked: tests that ran. wrong: those that failed."""
    outcome = stage.outcome()
    if absent := [test for test in tests if not (ROOT / test.partition("::")[0]).exists()]:
        outcome.require(f"{', '.join(absent)} is not there", that=False)
        return outcome
    log = stage.folder / f"{stage.row}.log"
    smaller = [] if stage.scale >= 1 else ["-m", "not servers"]
    process = Process(["pytest", *OPTIONS, *smaller, *options, *tests], os.environ | planted(stage.plant), log)
    process.start()
    try:
        await until(lambda: not process.running, "pytest has ended", LONGEST_SECONDS)
    finally:
        process.end(END_SECONDS)
    outcome.acked, outcome.wrong = counts(log.read_text())
    outcome.require("no test ran", that=outcome.acked > 0)
    outcome.require(f"{outcome.wrong} wrong", that=outcome.wrong == 0)
    outcome.require(f"pytest ended with {process.exit_code}", that=process.exit_code == 0)
    return outcome


def counts(printed: str) -> tuple[int, int]:
    """Return how many tests ran and how many of them failed, from pytest's last line."""
    last = printed.strip().rpartition("\n")[2]
    number = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", last)}
    failed = number.get("failed", 0) + number.get("error", 0)
    return number.get("passed", 0) + failed, failed
