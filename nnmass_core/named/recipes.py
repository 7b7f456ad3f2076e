"""Training recipes: all settings of a training, as one frozen value with a digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from nnmass_core.architecture import Architecture, ImageArchitecture
from nnmass_core.codec import JsonObject, Value, choice, decode, encode, integer, number, one_of, sha256_of
from nnmass_core.errors import DefinitionError, Problem

LEAST_LEARNING_RATE = 1e-8
MOST_EPOCHS = 1_000
MOST_HELD_OUT = 0.5


@dataclass(frozen=True, kw_only=True)
class Recipe(Value):
    """How a network is trained. The digest of its JSON form accompanies every accuracy that it produced.

    Inputs are standardized by the mean and deviation of each channel of the images that are trained on; the loss is
    cross entropy.
    """

    optimizer: str = choice(("sgd", "adam", "adamw"), "Optimizer.")
    learning_rate: float = number(LEAST_LEARNING_RATE, 100.0, "Maximum learning rate.", example=0.1)
    momentum: float = number(0.0, 0.999, "Momentum of SGD.", default=0.0, example=0.9)
    weight_decay: float = number(0.0, 1.0, "Weight decay of every parameter.", default=0.0, example=5e-4)
    schedule: str = choice(
        ("constant", "cosine", "one_cycle"),
        "Learning rate schedule, updated every step: constant, half a cosine down to 0, or one cycle that rises "
        "for the first 30 % and then falls.",
        default="constant",
    )
    batch_size: int = integer(
        1, 65536, "Images in a step, over all devices. A smaller last batch is also used.", example=128
    )
    epochs: int = integer(1, MOST_EPOCHS, "Number of passes over the training images.", example=200)
    augmentation: str = choice(
        ("none", "crop_flip", "resized_crop_flip"),
        "none; crop_flip: pad by an eighth, crop and mirror at random (CIFAR); resized_crop_flip: scale a random part "
        "to full size and mirror at random (ImageNet).",
        default="none",
    )
    label_smoothing: float = number(0.0, 0.999, "Share of each label spread over all classes.", default=0.0)
    precision: str = choice(
        ("fp32", "fp16-mixed", "bf16-mixed"), "Precision of the forward pass; weights are always fp32.", default="fp32"
    )
    validation: float = number(
        0.0,
        MOST_HELD_OUT,
        "Share of the training images of each class that is held out from training, drawn by the seed. Loss and "
        "accuracy are then measured on these images after each epoch, and on the test images only after the last one. "
        "At 0 they are measured on the test images after each epoch.",
        default=0.0,
        example=0.1,
        added=True,
    )

    def cross_check(self) -> Iterator[Problem]:
        """Yield problems between fields that are each valid."""
        if self.momentum and self.optimizer != "sgd":
            yield Problem("momentum", "conflicts_with_optimizer", "applies only to sgd")

    def to_json(self) -> JsonObject:
        """Write the recipe as JSON-ready objects; a field that came later is left out at its default."""
        return encode(self)

    @property
    def digest(self) -> str:
        """The hash of the JSON form: equal recipes have the same hash, whatever their names."""
        return f"sha256:{sha256_of(self.to_json())}"


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe with a name and a sentence about its purpose."""

    name: str
    description: str
    recipe: Recipe


@cache
def recipes() -> dict[str, NamedRecipe]:
    """Return every named recipe by its name."""
    named = (
        NamedRecipe(
            "mlp-paper",
            "From the publication, for MLPs on MNIST and synthetic data: Adam at 1e-3.",
            Recipe(optimizer="adam", learning_rate=1e-3, batch_size=64, epochs=20),
        ),
        NamedRecipe(
            "cifar-paper",
            "From the publication, for CIFAR: SGD at 0.1 with momentum, cosine, 200 epochs of batches of 128.",
            Recipe(
                learning_rate=0.1,
                weight_decay=5e-4,
                batch_size=128,
                epochs=200,
                augmentation="crop_flip",
                optimizer="sgd",
                momentum=0.9,
                schedule="cosine",
            ),
        ),
        NamedRecipe(
            "imagenet-paper",
            "From the publication, for ImageNet: SGD at 0.05 with momentum, cosine, 150 epochs.",
            Recipe(
                learning_rate=0.05,
                weight_decay=4e-5,
                batch_size=256,
                epochs=150,
                augmentation="resized_crop_flip",
                optimizer="sgd",
                momentum=0.9,
                schedule="cosine",
            ),
        ),
        NamedRecipe(
            "cifar-quick",
            "A quick first training, in minutes on a CPU: one cycle of SGD over eight epochs.",
            Recipe(
                optimizer="sgd",
                learning_rate=0.1,
                momentum=0.9,
                weight_decay=5e-4,
                schedule="one_cycle",
                batch_size=128,
                epochs=8,
                augmentation="crop_flip",
            ),
        ),
    )
    return {item.name: item for item in named}


ONE_VALUE = "in a batch of one input, BatchNorm would see one value per channel"
"""Why a network cannot be trained: every normalized value would be 0."""


def batch_problems(recipe: Recipe, architecture: Architecture) -> Iterator[Problem]:
    """Yield the reason why a network cannot be trained in a recipe's batches, as far as its family defines its maps."""
    if recipe.batch_size == 1 and architecture.smallest_normalized_map() == 1:
        of_maps = " at its 1x1 feature maps" if isinstance(architecture, ImageArchitecture) else ""
        message = f"must be at least 2 for this network: {ONE_VALUE}{of_maps}"
        yield Problem("batch_size", "too_small", message)


def validation_problems(recipe: Recipe, images: int | None, classes: int | None) -> Iterator[Problem]:
    """Yield the reason why a recipe holds out no image of some class, as far as the numbers of a data set show it.

    images, classes: of the training part; None where they are not known. Of n images of a class, the share times n is
    held out, rounded; if the mean over the classes is at most a half, some class has none.
    """
    if recipe.validation and images is not None and classes is not None and images * recipe.validation <= classes / 2:
        message = (
            f"must be more than {classes / (2 * images):.3g} to hold out an image of each class: there are {images:,} "
            f"training images of {classes:,} classes"
        )
        yield Problem("validation", "too_small", message)


def resolve_recipe(data: object) -> Recipe:
    """Read a recipe given by its name or as a full definition. Raises DefinitionError."""
    if not isinstance(data, str):
        return decode(Recipe, data)
    if data not in recipes():
        raise DefinitionError.at("", "unknown_recipe", one_of(data, recipes(), "a full definition or "))
    return recipes()[data].recipe


def recipe_name(digest: str) -> str | None:
    """Return the name of the named recipe with a digest, or None for a recipe of the user."""
    return _names().get(digest)


@cache
def _names() -> dict[str, str]:
    return {item.recipe.digest: item.name for item in recipes().values()}
