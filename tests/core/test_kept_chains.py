"""Which chains are kept for later searches."""

from __future__ import annotations

import pytest

import nnmass_core.search as searching
from nnmass_core.engine.chain import Chain
from nnmass_core.named.presets import presets

NAMES = ("densenet-tiny-free", "mobilenet-v2-tiny-free", "resnet-tiny-free", "densenet-mlp-mnist")


@pytest.fixture
def kept() -> searching._Kept:
    return searching._Kept()


def chain(kept: searching._Kept, name: str) -> Chain:
    return kept.chain(presets()[name].space, None, (), 0, ())


def test_the_chains_of_the_latest_searches_are_kept(kept: searching._Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "CACHED_CHAINS", 2)
    first, second = chain(kept, NAMES[0]), chain(kept, NAMES[1])
    assert chain(kept, NAMES[0]) is first
    chain(kept, NAMES[2])
    assert chain(kept, NAMES[0]) is first
    assert chain(kept, NAMES[1]) is not second


def test_kept_chains_have_no_more_options_together_than_memory_is_for(
    kept: searching._Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {name: presets()[name].space.chain().options() for name in NAMES}
    monkeypatch.setattr(searching, "CACHED_OPTIONS", sum(sizes.values()) - 1)
    found = {name: chain(kept, name) for name in NAMES}
    assert kept.options() == sum(sizes.values()) - sizes[NAMES[0]]
    assert all(chain(kept, name) is found[name] for name in NAMES[1:])


def test_a_chain_that_is_too_large_by_itself_displaces_no_other(
    kept: searching._Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = sorted(NAMES, key=lambda name: presets()[name].space.chain().options())[:: len(NAMES) - 1]
    monkeypatch.setattr(searching, "CACHED_OPTIONS", presets()[large].space.chain().options() - 1)
    found = chain(kept, small)
    assert chain(kept, large) is not chain(kept, large)
    assert chain(kept, small) is found
