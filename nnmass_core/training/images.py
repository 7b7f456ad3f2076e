"""Inputs of a training from a data set: batches of images or points, augmented and standardized."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

import torch
import torch.utils.data
from torch import Tensor, nn

from nnmass_core.errors import NotPossible
from nnmass_core.training.layout import NOTHING, Found

AT_ONCE = 256
"""Inputs processed together when all of them are read."""

SAMPLE = 2_048
"""The number of images on disk from which mean and deviation are computed."""


class Pixels(Protocol):
    """Inputs of one shape, in memory or on disk."""

    reading_processes: int
    """How many reading processes are useful; 0 for inputs in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: (channels, height, width) of an image, else (features,) or (1, features)."""

    def __len__(self) -> int: ...

    def at(self, indices: list[int]) -> Tensor:
        """Return the inputs at some indices, (n, *shape): uint8 for images. Raises NotPossible where one is broken."""


class Held:
    """Inputs in memory, (n, ...)."""

    reading_processes = 0

    def __init__(self, whole: Tensor) -> None:
        self.whole = whole

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.whole.shape[1:])

    def __len__(self) -> int:
        return len(self.whole)

    def at(self, indices: list[int]) -> Tensor:
        """Return the inputs at some indices."""
        return self.whole[indices]


class Part:
    """Inputs at some indices of others, which are neither copied nor read."""

    def __init__(self, whole: Pixels, indices: Tensor) -> None:
        self._whole, self._indices = whole, indices
        self.reading_processes = whole.reading_processes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self._whole.shape

    def __len__(self) -> int:
        return len(self._indices)

    def at(self, indices: list[int]) -> Tensor:
        """Return the inputs at some indices of the part. Raises NotPossible where one is broken."""
        return self._whole.at(self._indices[indices].tolist())


class Images(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Inputs with their labels, fetched by whole batches of keys.

    A key is epoch * len + index: an image's augmentation is a function of seed, epoch and index only, whatever batch
    and process it is in. This class also replaces `collate_fn`: see `__getitems__`.
    """

    def __init__(self, pixels: Pixels, labels: Tensor, augmentation: str = "none", seed: int = 0) -> None:
        assert len(pixels) == len(labels)
        self.pixels, self.labels = pixels, labels
        self._seed = seed
        self._augment = _augmentation(augmentation, pixels.shape)

    def augmented(self, augmentation: str, seed: int) -> Images:
        """Return the same images, augmented: `none`, `crop_flip` or `resized_crop_flip` (see Recipe).

        An image is augmented in the network's input size. Raises NotPossible (`no_images`) for inputs that are not
        images.
        """
        return Images(self.pixels, self.labels, augmentation, seed)

    def part(self, indices: Tensor) -> Images:
        """Return the images at some indices, (n,) of int64, not augmented."""
        return Images(Part(self.pixels, indices), self.labels[indices])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: (channels, height, width) of an image, else (features,) or (1, features)."""
        return self.pixels.shape

    @property
    def kind(self) -> torch.dtype:
        """The type of the values: uint8 of images, float32 of points."""
        return self.pixels.at([0]).dtype

    @property
    def reading_processes(self) -> int:
        """How many reading processes are useful; 0 for inputs in memory."""
        return self.pixels.reading_processes

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitems__(self, keys: list[int]) -> tuple[Tensor, Tensor]:
        """Return (inputs, labels): (n, *shape), uint8 for images and float32 for points, and (n,), int64."""
        indices = [key % len(self) for key in keys]
        batch = self.pixels.at(indices)
        if self._augment is not None:
            batch = self._augmented(self._augment, batch, keys)
        return batch, self.labels[indices]

    def _augmented(self, augment: nn.Module, batch: Tensor, keys: list[int]) -> Tensor:
        images = []
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            for image, key in zip(batch, keys, strict=True):
                torch.default_generator.manual_seed(_mixed(self._seed, *divmod(key, len(self))))
                images.append(augment(image))
        return torch.stack(images)


def _mixed(seed: int, epoch: int, index: int) -> int:
    """Return 32 bits, the size of torch's seeds, all of which depend on all three numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed} {epoch} {index}".encode()).digest()[:4])


def _augmentation(name: str, shape: tuple[int, ...]) -> nn.Module | None:
    if name == "none":
        return None
    if len(shape) != 3:
        raise NotPossible("no_images", "augmentation applies only to images, and this dataset has none")
    from torchvision.transforms import v2  # loading takes seconds, which measurements need not wait for

    _, height, width = shape
    crop: Any = {
        "crop_flip": lambda: v2.RandomCrop((height, width), padding=(width // 8, height // 8)),
        "resized_crop_flip": lambda: v2.RandomResizedCrop((height, width), antialias=True),
    }[name]()
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


@dataclass(frozen=True)
class Data:
    """A whole data set, ready for training.

    mean, std: of each channel over the training images, pixels in [0, 1]; 0 and 1 for points, which are not
    standardized. digest: SHA-256 of the inputs and labels, or of the files' names and sizes and of what was decided
    about them if they are not in memory. found: how an image folder was read, and what of it is left out. validation:
    the images that a recipe holds out, which are no longer in `train`; the digest is of the whole data set.
    """

    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    found: Found = NOTHING
    validation: Images | None = None


class Standardize(nn.Module):
    """Converts a batch to a network's input: uint8 to [0, 1], minus the mean, divided by the deviation, reshaped."""

    mean: Tensor
    std: Tensor

    def __init__(self, data: Data, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._shape = shape
        per_channel = (1, -1, *[1] * (len(data.train.shape) - 1))
        self.register_buffer("mean", torch.tensor(data.mean).reshape(per_channel))
        self.register_buffer("std", torch.tensor(data.std).reshape(per_channel))

    def forward(self, batch: Tensor) -> Tensor:
        """Convert (n, channels, ...) to (n, *shape), float32."""
        values = batch.float() / 255 if batch.dtype == torch.uint8 else batch
        return ((values - self.mean) / self.std).reshape(len(batch), *self._shape)


def moments(pixels: Pixels, indices: Iterable[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of uint8 inputs at some indices, in units of [0, 1].

    A channel that hardly varies (below 1e-6) has deviation 1. The sums are of integers, and therefore exact.
    """
    count, total, squares = 0, torch.tensor(0), torch.tensor(0)
    for some in torch.tensor(list(indices)).split(AT_ONCE):
        shades = pixels.at(some.tolist()).transpose(0, 1).flatten(1).int()
        count += shades.shape[1]
        total = total + shades.sum(1, dtype=torch.int64)
        squares = squares + (shades * shades).sum(1, dtype=torch.int64)
    mean = [int(one) / count / 255 for one in total]
    variance = [(count * int(s) - int(t) ** 2) / count**2 for s, t in zip(squares, total, strict=True)]
    std = [sqrt(one) / 255 for one in variance]
    return tuple(mean), tuple(1.0 if one < 1e-6 else one for one in std)


def standardization(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, pixels in [0, 1]; 0 and 1 for points, which are not standardized.

    Of images on disk at most 2,048 are read, evenly spaced.
    """
    if images.kind != torch.uint8:
        return (0.0,) * images.shape[0], (1.0,) * images.shape[0]
    if not images.reading_processes:
        return moments(images.pixels, range(len(images)))
    sample = torch.linspace(0, len(images) - 1, min(SAMPLE, len(images)), dtype=torch.float64).long()
    return moments(images.pixels, sample.tolist())


def digest_of(*tensors: Tensor) -> str:
    """Return the SHA-256 of the shapes, types and values of some tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        for part in tensor.contiguous().split(AT_ONCE):
            digest.update(part.numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def held(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: Iterable[str],
    found: Found = NOTHING,
) -> Data:
    """Return a data set whose (inputs, labels) are in memory: uint8 is standardized, other types are not."""
    images, tested = (Images(Held(inputs), labels) for inputs, labels in (train, test))
    mean, std = standardization(images)
    return Data(images, tested, tuple(classes), mean, std, digest_of(*train, *test), found)


def every_fifth(labels: Tensor) -> Tensor:
    """Return which inputs are for testing, (n,) of bool: the fifth, tenth, ... of each class in their order."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        chosen[(labels == label).nonzero()[4::5, 0]] = True
    return chosen
