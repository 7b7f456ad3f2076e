"""Fit a recipe to few images: with a handful of large batches an epoch, a network hardly learns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nnmass_core.codec import JsonObject, sha256_of
from nnmass_core.named.recipes import LEAST_LEARNING_RATE, MOST_EPOCHS, Recipe

FEWEST_STEPS = 20
"""A recipe that makes fewer steps an epoch is adapted."""

SMALLEST_BATCH = 8
"""No recipe is adapted to smaller batches: BatchNorm needs some images to estimate means and variances."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """A recipe fitted to few training images, in a way that only the number of images determines.

    The batches are small enough for 20 steps an epoch, but have at least 8 images, or as many as requested where that
    is less. The learning rate changes with the square root of the batch size. Where such batches still make fewer than
    20 steps an epoch (8 images a batch: below 154 images), there are more epochs, at most 1,000, so that all steps
    together are at least 20 for each epoch requested. Before each evaluation, the running statistics of BatchNorm are
    computed again from all training images, without augmentation.

    Args:
        requested: The recipe as requested.
        recipe: The recipe with the batch size, the learning rate and the epochs of the training.
        images: The number of training images.
    """

    requested: Recipe
    recipe: Recipe
    images: int

    @property
    def digest(self) -> str:
        """The hash of all that is trained with; it differs from the digest of every recipe."""
        return f"sha256:{sha256_of({'recipe': self.recipe.to_json(), 'batch_norm': 'recomputed'})}"

    def to_json(self) -> JsonObject:
        """Write the adaptation as JSON-ready objects."""
        return {
            "images": self.images,
            "requested": _pace(self.requested, self.images),
            "trained": _pace(self.recipe, self.images),
            "batch_norm": "recomputed",
            "digest": self.digest,
        }


def adaptation_of(recipe: Recipe, images: int) -> Adaptation | None:
    """Return a recipe fitted to a number of training images; None if it makes 20 steps an epoch or more."""
    if len(batch_sizes(images, recipe.batch_size)) >= FEWEST_STEPS:
        return None
    size = min(recipe.batch_size, max(SMALLEST_BATCH, images // FEWEST_STEPS))
    rate = max(LEAST_LEARNING_RATE, recipe.learning_rate * (size / recipe.batch_size) ** 0.5)
    steps = min(FEWEST_STEPS, len(batch_sizes(images, size)))
    epochs = min(MOST_EPOCHS, -(-recipe.epochs * FEWEST_STEPS // steps))
    adapted = replace(recipe, batch_size=size, learning_rate=rate, epochs=epochs)
    return Adaptation(requested=recipe, recipe=adapted, images=images)


def trained_recipe(recipe: Recipe | Adaptation) -> Recipe:
    """Return the recipe that is trained: the adapted one, or a recipe that is not adapted."""
    return recipe.recipe if isinstance(recipe, Adaptation) else recipe


def _pace(recipe: Recipe, images: int) -> JsonObject:
    return {
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "steps_per_epoch": len(batch_sizes(images, recipe.batch_size)),
        "epochs": recipe.epochs,
    }


def batch_sizes(images: int, size: int, processes: int = 1) -> list[int]:
    """Return the sizes of an epoch's batches.

    A last batch that is too small to give each process two images, which BatchNorm needs, is merged with the previous
    one.
    """
    sizes = [size] * (images // size) + ([images % size] if images % size else [])
    if len(sizes) > 1 and sizes[-1] < 2 * processes:
        sizes[-2:] = [sizes[-2] + sizes[-1]]
    return sizes
