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
        "requested": {"batch_size": 128, "learning_rate": 0.1, "steps_per_epoch": 2, "epochs": 8},
        "trained": {"batch_size": 8, "learning_rate": 0.025, "steps_per_epoch": 20, "epochs": 8},
        "batch_norm": "recomputed",
        "digest": adapted.digest,
    }


@pytest.mark.parametrize(
    ("images", "size", "asked", "epochs"),
    [
        (160, 128, 8, 8),
        (154, 128, 8, 8),  # 20 batches, the last of 2
        (153, 128, 8, 9),  # 19 batches, since a last one of one image joins the one before
        (152, 128, 8, 9),  # 19 batches: 8 epochs of 20 are 160 steps, and 9 of 19 are 171
        (40, 128, 8, 32),
        (8, 128, 8, 160),
        (1, 128, 3, 60),
        (12, 4, 1, 7),  # batches stay at the 4 images requested
        (40, 128, 500, 1000),  # the most epochs of a recipe, where 2,000 would be needed
    ],
)
def test_fewer_images_than_20_batches_hold_are_trained_on_for_more_epochs(
    images: int, size: int, asked: int, epochs: int
) -> None:
    adapted = adaptation_of(replace(QUICK, batch_size=size, epochs=asked), images)
    assert adapted is not None
    assert adapted.recipe.epochs == epochs
    trained = adapted.to_json()["trained"]
    assert trained == {
        "batch_size": min(8, size),
        "learning_rate": adapted.recipe.learning_rate,
        "steps_per_epoch": len(batch_sizes(images, min(8, size))),
        "epochs": epochs,
    }


@given(
    images=st.integers(1, 100_000),
    size=st.integers(1, 65_536),
    rate=st.floats(1e-8, 100.0),
    epochs=st.integers(1, 1_000),
)
def test_an_adapted_recipe_changes_only_batches_their_learning_rate_and_epochs(
    images: int, size: int, rate: float, epochs: int
) -> None:
    recipe = replace(QUICK, batch_size=size, learning_rate=rate, epochs=epochs)
    adapted = adaptation_of(recipe, images)
    if adapted is None:
        assert len(batch_sizes(images, size)) >= 20
        return
    found = adapted.recipe
    assert replace(found, batch_size=size, learning_rate=rate, epochs=epochs) == recipe
    assert found.batch_size == size or found.batch_size >= 8
    steps = len(batch_sizes(images, found.batch_size))
    if steps >= 20:
        assert found.epochs == epochs
    else:
        assert found.batch_size == min(8, size)
        assert steps * found.epochs >= 20 * epochs or found.epochs == 1_000
        assert steps * (found.epochs - 1) < 20 * epochs or found.epochs == epochs == 1_000
    assert 1e-8 <= found.learning_rate <= rate
    assert adaptation_of(recipe, images) == adapted


def test_an_adaptation_without_more_epochs_keeps_its_digest() -> None:
    """As it was before there were more epochs for some."""
    found = [adapted.digest for images in (160, 400) if (adapted := adaptation_of(QUICK, images)) is not None]
    assert found == [
        "sha256:83674e6562dea5d60d7ee29a90db5733973f1a4ea5edeaa0650c14b60d292061",
        "sha256:c7526d54c1585bede14f8970977bd4ba93dcfa356925f66ed72cb783bf88559e",
    ]


def test_an_adapted_recipe_has_a_digest_of_its_own() -> None:
    """Also where batches, rate and epochs stay as they were, since the statistics of BatchNorm are others."""
    small = Recipe(optimizer="adam", learning_rate=1e-3, batch_size=4, epochs=1_000)
    adapted = adaptation_of(small, 12)
    assert adapted is not None
    assert adapted.recipe == small
    digests = {item.recipe.digest for item in recipes().values()} | {small.digest}
    sizes = (40, 160, 161, 400)
    found = {adapted.digest, *(named.digest for n in sizes if (named := adaptation_of(QUICK, n)) is not None)}
    assert not digests & found
    assert len(found) == 4  # 8 images a batch and 8 epochs for 160 and 161
    assert trained_recipe(adapted) == trained_recipe(small) == small
    assert isinstance(adapted, Adaptation)
