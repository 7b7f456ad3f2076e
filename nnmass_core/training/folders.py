"""Folders and zip files of images, one folder per class. Zip files are read in place; nothing is extracted.

Reading is confined: nothing outside the worker's data root, no entry and no total size beyond a limit, no image with
more pixels than Pillow considers safe, and only the formats of the suffixes below.
"""

from __future__ import annotations

import io
import multiprocessing
import warnings
from collections import defaultdict
from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import Protocol
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nnmass_core.codec import JsonObject, printable, sha256_of
from nnmass_core.errors import NotPossible
from nnmass_core.named.datasets import in_words
from nnmass_core.training.images import Data, Images, held, moments

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm"})
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")

LARGEST_ENTRY_BYTES = 100_000_000
LARGEST_ZIP_BYTES = 20 << 30
"""The most bytes of all images of a zip, unpacked."""

LARGEST_HELD_BYTES = 2 << 30
"""The most bytes of all images, decoded; larger sets stay on disk and are read when needed."""

SAMPLE = 2_048
"""The number of images on disk from which mean and deviation are computed."""

MOST_READING_PROCESSES = 8

UNREADABLE = (OSError, RuntimeError, ValueError, BadZipFile)
"""What opening and listing may raise; a loop of links is a RuntimeError before Python 3.13."""

Classes = dict[str, list[str]]
"""The names of images by class."""


class BrokenImage(NotPossible):
    """An image that cannot be read (`bad_dataset`)."""

    def __init__(self, message: str) -> None:
        # a DataLoader raises an error of its process again, built from the traceback's text, which ends with the
        # message
        last = message.rstrip().rpartition("\n")[2]
        super().__init__("bad_dataset", last.removeprefix(f"{type(self).__module__}.{type(self).__qualname__}: "))


class Store(Protocol):
    """Files with names and sizes, in a folder or a zip."""

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each image by its name, folders separated by /. Raises NotPossible."""

    def read(self, name: str) -> bytes:
        """Return the content of a file."""


class Folder:
    """The images in a folder and its subfolders; none may lead out of the data root."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each image by its name, folders separated by /. Raises NotPossible."""
        found = {file.relative_to(self._folder).as_posix(): file for file in self._files(self._folder, set())}
        return {name: file.stat().st_size for name, file in found.items()}

    def _files(self, folder: Path, seen: set[Path]) -> Iterator[Path]:
        if folder.resolve() in seen:  # a link to a parent folder would loop
            return
        seen.add(folder.resolve())
        for path in filter(lambda path: counts(path.name), folder.iterdir()):
            if path.is_symlink() and not path.resolve().is_relative_to(self._root.resolve()):
                raise NotPossible("bad_path", f"the link {printable(path.name)} points outside the worker's data root")
            if path.is_dir():
                yield from self._files(path, seen)
            elif path.is_file() and is_image(path.name):
                yield path

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self._folder / name).read_bytes()


class Archive:
    """The images in a zip file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int | None, ZipFile] | None = None

    def __getstate__(self) -> JsonObject:
        return vars(self) | {"_opened": None}

    @property
    def _zip(self) -> ZipFile:
        # a forked process shares the position in its parent's open file, and so needs its own
        process = multiprocessing.current_process().pid
        if self._opened is None or self._opened[0] != process:
            self._opened = (process, ZipFile(self._path))
        return self._opened[1]

    def sizes(self) -> dict[str, int]:
        """Return the unpacked size in bytes of each image by its name. Raises NotPossible."""
        sizes = {entry.filename: entry.file_size for entry in self._zip.infolist() if is_image(entry.filename)}
        if sum(sizes.values()) > LARGEST_ZIP_BYTES:
            limit = f"{LARGEST_ZIP_BYTES:,} bytes"
            raise NotPossible("dataset_too_large", f"the images of the zip unpack to more than {limit}; use a folder")
        return sizes

    def read(self, name: str) -> bytes:
        """Return the content of an entry, at most as many bytes as the zip's directory states."""
        return self._zip.read(name)


def counts(name: str) -> bool:
    """Return whether a path is used: no part of it is hidden, empty, or added to zips by macOS."""
    return all(part and part != "__MACOSX" and not part.startswith(".") for part in name.split("/"))


def is_image(name: str) -> bool:
    """Return whether a path has an image suffix."""
    return counts(name) and PurePosixPath(name).suffix.lower() in SUFFIXES


class Files:
    """Images that stay on disk, converted to one shape each time they are read."""

    def __init__(self, store: Store, names: list[str], shape: tuple[int, int, int]) -> None:
        self._store, self._names, self.shape = store, names, shape
        self.reading_processes = min(MOST_READING_PROCESSES, multiprocessing.cpu_count())

    def __len__(self) -> int:
        return len(self._names)

    def at(self, indices: list[int]) -> Tensor:
        """Return some images, (n, channels, height, width), uint8. Raises NotPossible for a broken one."""
        images = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        for place, index in enumerate(indices):
            name = self._names[index]
            try:
                images[place] = decode(self._store.read(name), self.shape)
            except Exception as error:  # decoders raise any kind of error at broken files
                raise BrokenImage(f"the image {_quoted(name)} cannot be read") from error
        return images


def decode(packed: bytes, shape: tuple[int, int, int]) -> Tensor:
    """Return an image file's content as (channels, height, width), uint8, resized bilinearly if necessary."""
    channels, height, width = shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(packed), formats=FORMATS) as file:
            image = _in_8_bits(file).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)  # Pillow averages when it shrinks
    return torch.from_numpy(np.array(image).reshape(height, width, channels)).permute(2, 0, 1)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Convert gray images of 16 bits to 8 bits; Pillow's conversion would clip all but the darkest shades to white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def load(path: str, shape: tuple[int, int, int], num_classes: int, root: Path) -> Data:
    """Return the image folder or zip at a path below the root, in the shape (channels, height, width).

    Raises NotPossible: dataset_missing, bad_path, bad_dataset, classes_mismatch, dataset_too_large.
    """
    store, sizes = _listed(path, root)
    train, test = arrange(sorted(sizes))
    if len(train) != num_classes:
        message = f"the dataset has {len(train)} classes, the network {num_classes}"
        raise NotPossible("classes_mismatch", message)
    if len(sizes) * prod(shape) > LARGEST_HELD_BYTES:
        return _on_disk(store, sizes, train, test, shape)
    return held(_in_memory(store, train, shape), _in_memory(store, test, shape), map(printable, train))


def _listed(path: str, root: Path) -> tuple[Store, dict[str, int]]:
    try:
        store = open_store(path, root)
        sizes = store.sizes()
    except UNREADABLE as error:
        raise NotPossible("dataset_missing", "the path cannot be read as a folder or a zip file") from error
    for name, size in sizes.items():
        if size > LARGEST_ENTRY_BYTES:
            limit = f"{LARGEST_ENTRY_BYTES:,} bytes"
            raise NotPossible("dataset_too_large", f"the image {_quoted(name)} has more than {limit}")
    return store, sizes


def open_store(path: str, root: Path) -> Store:
    """Return the folder or zip at a path below the root. Raises NotPossible, and OSError where it cannot be opened."""
    place = root / path
    if not place.resolve().is_relative_to(root.resolve()):
        raise NotPossible("bad_path", "the path points outside the worker's data root")
    if place.is_dir():
        return Folder(place, root)
    if place.is_file() and is_zipfile(place):
        return Archive(place)
    raise NotPossible("dataset_missing", "the path names no folder or zip file in the worker's data root")


def arrange(names: list[str]) -> tuple[Classes, Classes]:
    """Return the sorted images for training and for testing by class, classes sorted. Raises NotPossible.

    Either `train/<class>/*` and `test/<class>/*` (or `val/`, where there is no `test`; anything else is left out), or
    only `<class>/*`, of which every fifth is for testing; either may lie one folder deeper.
    """
    if not names:
        raise NotPossible("bad_dataset", f"found no images; names of images end in {', '.join(sorted(SUFFIXES))}")
    top = names[0].split("/")[0] + "/"
    if not all(name.startswith(top) and name.count("/") > 1 for name in names):
        top = ""
    folders = {name.removeprefix(top).split("/")[0] for name in names}
    testing = next((folder for folder in ("test", "val") if folder in folders), None)
    if "train" in folders and testing is not None:
        train, test = (_by_class(names, f"{top}{folder}/") for folder in ("train", testing))
    else:
        whole = _by_class(names, top)
        train = {label: [name for i, name in enumerate(whole[label]) if i % 5 != 4] for label in whole}
        test = {label: whole[label][4::5] for label in whole}
    _check_classes(train, test)
    return train, test


def _by_class(names: list[str], prefix: str) -> Classes:
    found: Classes = defaultdict(list)
    for name in names:
        if name.startswith(prefix):
            label, below, _ = name.removeprefix(prefix).partition("/")
            if not below:
                raise NotPossible("bad_dataset", f"the image {_quoted(name)} is not in the folder of a class")
            found[label].append(name)
    return {label: found[label] for label in sorted(found)}


def _check_classes(train: Classes, test: Classes) -> None:
    for label in sorted({*train, *test}):
        for part, classes in (("training", train), ("testing", test)):
            if not classes.get(label):
                raise NotPossible("bad_dataset", f"the class {printable(label)} has no images for {part}")


def _in_memory(store: Store, part: Classes, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    images = Files(store, _names(part), shape)
    return images.at(list(range(len(images)))), _labels(part)


def _on_disk(store: Store, sizes: dict[str, int], train: Classes, test: Classes, shape: tuple[int, int, int]) -> Data:
    """Return images that are read when they are needed.

    Mean and deviation are of at most 2,048 training images, evenly spaced; the digest is of names and sizes.
    """
    files = [Files(store, _names(part), shape) for part in (train, test)]
    images = [Images(part, _labels(classes)) for part, classes in zip(files, (train, test), strict=True)]
    sample = torch.linspace(0, len(files[0]) - 1, min(SAMPLE, len(files[0])), dtype=torch.float64).long()
    mean, std = moments(files[0], sample.tolist())
    digest = sha256_of([in_words(shape), sorted(sizes.items())])
    return Data(images[0], images[1], tuple(map(printable, train)), mean, std, f"sha256:{digest}")


def _quoted(name: str) -> str:
    """Return a file's name for a message; for a long name its end, which distinguishes images."""
    return printable(name[-64:])


def _names(classes: Classes) -> list[str]:
    return [name for names in classes.values() for name in names]


def _labels(classes: Classes) -> Tensor:
    return torch.tensor([label for label, names in enumerate(classes.values()) for _ in names], dtype=torch.int64)
