"""Recipes adapted to few images: when, how, and distinguished from every other recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmass_core.named.adaptation import Adaptation, adaptation_of, batch_sizes, trained_recipe
from nnmass_core.named.recipes import Recipe, recipes, resolve_recipe

QUICK = resolve_recipe("cifar-quick")


@pytest.mark.parametrize(("images", "steps"), [(2432, 19), (2433, 19), (2434, 20), (2560, 20), (50_000, 391)])
def test_a_recipe_with_20_steps_an_epoch_is_not_adapted(images: int, steps: int) -> None:
    """A last batch of one image joins the one before: 2,433 images are 19 steps."""
    assert len(batch_sizes(images, QUICK.batch_size)) == steps
    assert (adaptation_of(QUICK, images) is None) == (steps >= 20)


def test_cifar_quick_is_adapted_to_160_images() -> None:
    adapted = adaptation_of(QUICK, 160)
    assert adapted is not None
    assert adapted.recipe == replace(QUICK, batch_size=8, learning_rate=QUICK.learning_rate / 4)
    assert adapted.to_json() == {
        "images": 160,
        "requested": {"batch_size": 128, "learning_rate": 0.1, "steps_per_epoch": 2},
        "trained": {"batch_size": 8, "learning_rate": 0.025, "steps_per_epoch": 20},
        "batch_norm": "recomputed",
        "digest": adapted.digest,
    }


@given(images=st.integers(1, 100_000), size=st.integers(1, 65_536), rate=st.floats(1e-8, 100.0))
def test_an_adapted_recipe_changes_only_batches_and_their_learning_rate(images: int, size: int, rate: float) -> None:
    recipe = replace(QUICK, batch_size=size, learning_rate=rate)
    adapted = adaptation_of(recipe, images)
    if adapted is None:
        assert len(batch_sizes(images, size)) >= 20
        return
    found = adapted.recipe
    assert replace(found, batch_size=size, learning_rate=rate) == recipe
    assert found.batch_size == size or found.batch_size >= 8
    assert len(batch_sizes(images, found.batch_size)) >= 20 or found.batch_size == min(8, size)
    assert 1e-8 <= found.learning_rate <= rate
    assert adaptation_of(recipe, images) == adapted


def test_an_adapted_recipe_has_a_digest_of_its_own() -> None:
    """Also where batches and rate stay as they were, since the statistics of BatchNorm are others."""
    small = Recipe(optimizer="adam", learning_rate=1e-3, batch_size=4, epochs=1)
    adapted = adaptation_of(small, 12)
    assert adapted is not None
    assert adapted.recipe == small
    digests = {item.recipe.digest for item in recipes().values()} | {small.digest}
    found = {adapted.digest, *(named.digest for n in (40, 160, 400) if (named := adaptation_of(QUICK, n)) is not None)}
    assert not digests & found
    assert len(found) == 3  # 8 images a batch for 40 and 160
    assert trained_recipe(adapted) == trained_recipe(small) == small
    assert isinstance(adapted, Adaptation)
