"""Every test that docs/guarantees.md names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.rows import ROWS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def promises() -> list[str]:
    """The lines of the tables, but for their heads."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    return [line for line in lines if not re.match(r"\|( \||-)", line)]


@pytest.mark.parametrize("promise", promises())
def test_every_guarantee_names_existing_tests(promise: str) -> None:
    named = re.findall(r"`(chaos: \w+|tests/[\w/]+\.py(?:::\w+)?)`", promise)
    assert named
    for name in named:
        if name.startswith("chaos: "):
            assert name.removeprefix("chaos: ") in ROWS
        else:
            path, _, test = name.partition("::")
            assert f"def {test}" in (ROOT / path).read_text()


def test_the_page_lists_guarantees() -> None:
    assert len(promises()) > 20
