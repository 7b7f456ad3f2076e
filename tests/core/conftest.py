"""Small spaces are listed; the tests of the engine turn that off, since their spaces are small."""

from __future__ import annotations

import pytest

from nnmass_core import search


@pytest.fixture(autouse=True)
def nothing_is_listed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer by bounds whatever the size of the space, but in tests that are marked to use lists."""
    if not request.node.get_closest_marker("listed"):
        monkeypatch.setattr(search, "LISTED", 0)
