"""Fixtures: a service without keys and one with keys, each with one of everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.everything import Everything, everything


@pytest.fixture(scope="package")
def site(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """A service without keys that holds one of everything."""
    with everything(sqlite_file, tmp_path_factory.mktemp("site"), keyed=False) as service:
        yield service


@pytest.fixture(scope="package")
def keyed(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """A service with keys that holds one of everything of one owner."""
    with everything(sqlite_file, tmp_path_factory.mktemp("keyed"), keyed=True) as service:
        yield service
