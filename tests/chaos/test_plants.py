"""The suite finds bugs: small runs of a few rows pass, and fail for the right reason once a bug is planted.

The other bugs take minutes: `python -m tests.chaos --plant all`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.chaos.planted import PLANTS
from tests.chaos.processes import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.processes, pytest.mark.timeout(600)]

QUICK = ("publish_in_request", "no_sweeper", "no_fence", "no_owner_filter")
SHOWN_ELSEWHERE = "tenants"
"""A row of tests that run in the same suite: they need not pass here again."""

Line = dict[str, Any]


def chaos(*options: str) -> tuple[int, dict[str, Line]]:
    """Run a small suite; returns its exit code and each row's line by the planted bug, or else by the row's name."""
    command = [sys.executable, "-m", "tests.chaos", "--seed", "1", "--scale", "0.1", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr
    return done.returncode, {line["plant"] or line["row"]: line for line in lines}


@pytest.mark.slow
def test_rows_pass_without_a_planted_bug() -> None:
    rows = {PLANTS[name].row for name in QUICK} - {SHOWN_ELSEWHERE}
    code, lines = chaos("--rows", ",".join(rows))
    assert {name: line["reasons"] for name, line in lines.items()} == {name: [] for name in rows}
    assert code == 0


@pytest.mark.slow
def test_each_planted_bug_is_found() -> None:
    code, lines = chaos("--plant", ",".join(QUICK))
    assert set(lines) == set(QUICK)
    for name, line in lines.items():
        assert any(PLANTS[name].word in reason for reason in line["reasons"]), line
    assert code == 1
