"""The validation part: training images held out to choose networks by, so that the test images are read once.

It is a function of the images, the share and the seed. Networks that are trained with one seed have the same part.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import Tensor

from nnmass_core.errors import NotPossible
from nnmass_core.training.images import Data, standardization
from nnmass_core.training.layout import counted, quoted


def held_out(data: Data, share: float) -> int:
    """Return how many training images a share holds out: of each class that share, rounded.

    share: from 0 to 0.5. Raises NotPossible (`class_too_small`) for a class of which it holds out none.
    """
    return sum(_held_out_by_class(data, share)) if share else 0


def with_validation(data: Data, share: float, seed: int) -> Data:
    """Return the data set with a share of the training images of each class held out for validation.

    Mean and deviation are of the other training images, which are all that is trained on. Without a share the data set
    is returned as it is. share: from 0 to 0.5. Raises NotPossible (`class_too_small`) as `held_out` does.
    """
    if not share:
        return data
    chosen = _drawn(data.train.labels, _held_out_by_class(data, share), seed)
    train = data.train.part((~chosen).nonzero()[:, 0])
    mean, std = standardization(train)
    return replace(data, train=train, validation=data.train.part(chosen.nonzero()[:, 0]), mean=mean, std=std)


def _held_out_by_class(data: Data, share: float) -> list[int]:
    counts = torch.bincount(data.train.labels).tolist()
    numbers = [round(count * share) for count in counts]
    for label, (count, number) in enumerate(zip(counts, numbers, strict=True)):
        if count and not number:
            raise NotPossible(
                "class_too_small",
                f"recipe.validation of {share:g} holds out no image of the class {quoted(data.classes[label])}, which "
                f"has {counted(count, 'training image')}; raise it, add images, or set it to 0",
            )
    return numbers


def _drawn(labels: Tensor, numbers: list[int], seed: int) -> Tensor:
    """Return which images are drawn, (n,) of bool: of each class the given number."""
    drawn = hashlib.sha256(f"validation {seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(drawn[:4]))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    by_class = labels.argsort(stable=True).split(torch.bincount(labels).tolist())
    for indices, number in zip(by_class, numbers, strict=True):
        chosen[indices[torch.randperm(len(indices), generator=generator)[:number]]] = True
    return chosen
