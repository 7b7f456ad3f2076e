"""The reference values, which are stored next to the repository and not in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "reference"


def reference_rows(file: str, key: str, family: str = "densenet_cnn") -> list[ParameterSet]:
    """Return a file's rows of one family as test parameters; one that is skipped, saying why, without the file."""
    path = FOLDER / file
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{path} is not on this machine"))]
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))[key]
    ours = [row for row in rows if row.get("architecture", {}).get("family", family) == family]
    return [pytest.param(row, id=f"{key}-{index}") for index, row in enumerate(ours)]
