"""Data sets drawn from a seed: the publication's points in bands, and noise for testing a setup."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nnmass_core.errors import NotPossible
from nnmass_core.named.datasets import (
    BANDS,
    FAKE_TEST,
    FAKE_TRAIN,
    SYNTHETIC_TEST,
    SYNTHETIC_TRAIN,
    Dataset,
    image_shape,
)
from nnmass_core.training.images import Data, held

HIGHEST = 100.0
"""The outer edge of the outermost band."""

LARGEST_FAKE_BYTES = 2 << 30


def points(dataset: Dataset) -> Data:
    """Return a synthetic set: float32 points (n, 2), sorted by band, labeled by the segment of their band."""
    generator = torch.Generator().manual_seed(dataset.seed)
    draw = {"synthetic-linear": _linear, "synthetic-circle": _circle}[dataset.name]
    train, test = (
        (draw(band, generator).float(), label_of(band, dataset.segments))
        for band in (torch.arange(BANDS).repeat_interleave(n // BANDS) for n in (SYNTHETIC_TRAIN, SYNTHETIC_TEST))
    )
    return held(train, test, ("0", "1"))


def label_of(band: Tensor, segments: int) -> Tensor:
    """Return floor(band / (bands / segments)) mod 2 in integers, since the quotient is often a whole number."""
    return band * segments // BANDS % 2


def _linear(band: Tensor, generator: torch.Generator) -> Tensor:
    """Return points with two equal features, uniform in the band."""
    within = torch.rand(len(band), generator=generator, dtype=torch.float64)
    return ((band + within) * HIGHEST / BANDS)[:, None].expand(-1, 2)


def _circle(band: Tensor, generator: torch.Generator) -> Tensor:
    """Return points around the origin.

    Their radius is normally distributed around the middle of the band, with half the band's width as deviation,
    truncated to the band; their angle is uniform.
    """
    level, turn = torch.rand(2, len(band), generator=generator, dtype=torch.float64)
    # the inverse of the normal distribution function between one deviation below the mean and one above
    deviations = math.sqrt(2) * torch.erfinv((2 * level - 1) * math.erf(1 / math.sqrt(2)))
    radius = (band + 0.5 + deviations / 2) * HIGHEST / BANDS
    angle = 2 * math.pi * turn
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def noise(dataset: Dataset, shape: tuple[int, ...], num_classes: int) -> Data:
    """Return uint8 noise with random labels for a network of any shape. Raises NotPossible (`dataset_too_large`)."""
    one = shape if len(shape) == 3 else image_shape(shape) or (1, math.prod(shape))
    count = FAKE_TRAIN + FAKE_TEST
    if count * math.prod(one) > LARGEST_FAKE_BYTES:
        raise NotPossible("dataset_too_large", f"{count} fake inputs of this network's shape do not fit into memory")
    generator = torch.Generator().manual_seed(dataset.seed)
    images = torch.randint(0, 256, (count, *one), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    train, test = zip(images.split([FAKE_TRAIN, FAKE_TEST]), labels.split([FAKE_TRAIN, FAKE_TEST]), strict=True)
    return held(train, test, map(str, range(num_classes)))
