"""Folders and zip files of images, one folder per class. Zip files are read in place; nothing is extracted.

Reading is confined: nothing outside the worker's data root, no entry and no total size beyond a limit, no image with
more pixels than Pillow considers safe, and only the formats of the suffixes in `pictures`. What is not read is listed.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Protocol
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nnmass_core.codec import JsonObject, printable, sha256_of
from nnmass_core.errors import NotPossible
from nnmass_core.named.datasets import data_root, in_words
from nnmass_core.training.images import Data, Images, held, standardization
from nnmass_core.training.layout import (
    HIDDEN,
    Classes,
    Found,
    Layout,
    Listing,
    arrange,
    counted,
    joined,
    quoted,
    reports,
)
from nnmass_core.training.pictures import SUFFIXES, USUAL, Facts, Reading, changes, decided, decode, settle

LARGEST_ENTRY_BYTES = 100_000_000
LARGEST_ZIP_BYTES = 20 << 30
"""The most bytes of all images of a zip, unpacked."""

LARGEST_HELD_BYTES = 2 << 30
"""The most bytes of all images, decoded; larger sets stay on disk and are read when needed."""

MOST_READING_PROCESSES = 8

OLD_PARTS = (("train", "test"), ("train", "val"))
"""The splits that release 0.1.0 read; their digest has nothing about them."""

AT_ONCE = 64
"""The files on disk that a reading process looks at together."""

log = logging.getLogger("nnmass.training")

UNREADABLE = (OSError, RuntimeError, ValueError, BadZipFile)
"""What opening and listing may raise; a loop of links is a RuntimeError before Python 3.13."""


class BrokenImage(NotPossible):
    """An image that cannot be read (`bad_dataset`)."""

    def __init__(self, message: str) -> None:
        # a DataLoader raises an error of its process again, built from the traceback's text, which ends with the
        # message
        last = message.rstrip().rpartition("\n")[2]
        super().__init__("bad_dataset", last.removeprefix(f"{type(self).__module__}.{type(self).__qualname__}: "))


@dataclass(frozen=True)
class Options:
    """How to read an image folder.

    background: the color behind transparent parts. skip_broken: leave out images that cannot be read. bit_depth: the
    bits that integers of more than 8 bits use, 0 for those of the greatest value. progress: is called with the number
    of files read so far, and of all files.
    """

    background: str = "white"
    skip_broken: bool = False
    bit_depth: int = 0
    progress: Callable[[int, int], None] | None = None


class Store(Protocol):
    """Files with names and sizes, in a folder or a zip."""

    def listing(self) -> Listing:
        """Return the images, the folders and the files that are not read. Raises NotPossible."""

    def read(self, name: str) -> bytes:
        """Return the content of a file."""


class Folder:
    """The images in a folder and its subfolders; none may lead out of the data root."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root

    def listing(self) -> Listing:
        """Return the images, the folders and the files that are not read. Raises NotPossible."""
        sizes: dict[str, int] = {}
        folders: set[str] = set()
        left_out: dict[str, list[str]] = defaultdict(list)
        for path, why in self._paths():
            name = path.relative_to(self._folder).as_posix()
            if why:
                left_out[why].append(name)
            elif path.is_dir():
                folders.add(name)
            else:
                sizes[name] = path.stat().st_size
        return Listing(sizes, frozenset(folders), left_out)

    def _paths(self) -> Iterator[tuple[Path, str]]:
        """Yield all folders and files, each with the reason why it is left out, or with no text.

        A folder is read once: links may loop, and are followed after all folders that are no links.
        """
        seen: set[Path] = set()
        waiting = [self._folder]
        links: list[Path] = []
        while waiting or links:
            folder = waiting.pop() if waiting else links.pop(0)
            if folder.resolve() in seen:
                yield folder, "links to a folder that is read already"
                continue
            seen.add(folder.resolve())
            if folder != self._folder:
                yield folder, ""
            for path in sorted(folder.iterdir()):
                if not counts(path.name):
                    yield path, HIDDEN
                    continue
                self._check_inside(path)
                if path.is_dir():
                    (links if path.is_symlink() else waiting).append(path)
                else:
                    yield path, unread(path.name) if path.is_file() else "links that lead nowhere, and special files"

    def _check_inside(self, path: Path) -> None:
        if path.is_symlink() and not path.resolve().is_relative_to(self._root.resolve()):
            raise NotPossible("bad_path", f"the link {printable(path.name)} points outside {data_root(self._root)}")

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self._folder / name).read_bytes()


class Archive:
    """The images in a zip file. Names may have backslashes for slashes, as some programs of Windows write them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int | None, ZipFile] | None = None
        self._written: dict[str, str] = {}  # the names in the zip that differ from ours

    def __getstate__(self) -> JsonObject:
        return vars(self) | {"_opened": None}

    @property
    def _zip(self) -> ZipFile:
        # a forked process shares the position in its parent's open file, and so needs its own
        process = multiprocessing.current_process().pid
        if self._opened is None or self._opened[0] != process:
            self._opened = (process, ZipFile(self._path))
        return self._opened[1]

    def listing(self) -> Listing:
        """Return the images, the folders and the files that are not read. Raises NotPossible."""
        sizes: dict[str, int] = {}
        folders: set[str] = set()
        left_out: dict[str, list[str]] = defaultdict(list)
        for name, entry in self._entries():
            shown, hidden = name.rstrip("/"), not counts(name.rstrip("/"))
            if hidden:
                left_out[HIDDEN].append(shown)
                continue
            folders.update(str(parent) for parent in PurePosixPath(shown).parents if parent.name)
            if name.endswith("/"):
                folders.add(shown)
            elif entry.flag_bits & 1:
                raise NotPossible("bad_dataset", "the zip is encrypted; write it again without a password")
            elif why := unread(shown):
                left_out[why].append(shown)
            else:
                if shown in sizes:
                    left_out["earlier entries of the zip by a name that it holds again"].append(shown)
                sizes[shown] = entry.file_size
        if sum(sizes.values()) > LARGEST_ZIP_BYTES:
            limit = f"{LARGEST_ZIP_BYTES:,} bytes"
            raise NotPossible("dataset_too_large", f"the images of the zip unpack to more than {limit}; use a folder")
        return Listing(sizes, frozenset(folders), left_out)

    def _entries(self) -> Iterator[tuple[str, ZipInfo]]:
        entries = self._zip.infolist()
        # a name with both characters is of a system where the backslash is a character like any other
        of_windows = any("\\" in entry.filename and "/" not in entry.filename for entry in entries)
        for entry in entries:
            name = entry.filename.replace("\\", "/") if of_windows else entry.filename
            if name != entry.filename:
                self._written[name] = entry.filename
            yield name, entry

    def read(self, name: str) -> bytes:
        """Return the content of an entry, at most as many bytes as the zip's directory states."""
        return self._zip.read(self._written.get(name, name))


def counts(name: str) -> bool:
    """Return whether a path is used: no part of it is hidden, empty, or added to zips by macOS."""
    return all(part and part != "__MACOSX" and not part.startswith(".") for part in name.split("/"))


def unread(name: str) -> str:
    """Return what a file is that is not read because of its name, or no text for one with an image suffix."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in SUFFIXES:
        return ""
    return f"files that end in {printable(suffix)}" if suffix else "files without a suffix"


class Files:
    """Images that stay on disk, converted to one shape each time they are read."""

    def __init__(self, store: Store, names: list[str], shape: tuple[int, int, int], reading: Reading) -> None:
        self._store, self._names, self.shape, self._reading = store, names, shape, reading
        self.reading_processes = reading_processes()

    def __len__(self) -> int:
        return len(self._names)

    def at(self, indices: list[int]) -> Tensor:
        """Return some images, (n, channels, height, width), uint8. Raises NotPossible for a broken one."""
        images = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        for place, index in enumerate(indices):
            name = self._names[index]
            try:
                images[place], _ = decode(self._store.read(name), self.shape, self._reading)
            except Exception as error:  # decoders raise any kind of error at broken files
                raise BrokenImage(f"the image {quoted(name)} cannot be read") from error
        return images


def reading_processes() -> int:
    """Return how many processes read images on disk."""
    return min(MOST_READING_PROCESSES, multiprocessing.cpu_count())


def load(path: str, shape: tuple[int, int, int], num_classes: int, root: Path, options: Options | None = None) -> Data:
    """Return the image folder or zip at a path below the root, in the shape (channels, height, width).

    All files are decoded once, also where they stay on disk, so that all broken ones are known at the start. Raises
    NotPossible: dataset_missing, bad_path, bad_dataset, classes_mismatch, dataset_too_large.
    """
    options = options or Options()
    store, listing = _listed(path, root)
    if not listing.sizes:
        wanted = f"names of images end in {', '.join(sorted(SUFFIXES))}"
        raise NotPossible("bad_dataset", f"found no images; {wanted}{_and_left_out(listing.left_out)}")
    layout = arrange(listing)
    _check_count(layout, num_classes, listing)
    names = [*_names(layout.train), *_names(layout.test)]
    whole = len(listing.sizes) * prod(shape) <= LARGEST_HELD_BYTES
    pixels = torch.empty((len(names), *shape), dtype=torch.uint8) if whole else None
    seen = _decoded(store, names, shape, options, pixels)
    broken = sorted(name for name, facts in zip(names, seen, strict=True) if facts is None)
    train, test = _without(layout, broken, options)
    facts = [one for one in seen if one is not None]
    reading = settle(facts, options.background, options.bit_depth)
    _check_range(names, seen, reading, options.bit_depth)
    found = _found(listing, layout, broken, decided(facts, reading, options.bit_depth))
    if pixels is None:
        parts = [Files(store, _names(part), shape, reading) for part in (train, test)]
        decisions = changes(facts, reading) | ({"skipped": broken} if broken else {})
        if layout.parts and layout.parts not in OLD_PARTS:
            decisions["parts"] = list(layout.parts)
        described = [in_words(shape), sorted(listing.sizes.items()), *([decisions] if decisions else [])]
        return _on_disk(parts, (train, test), sha256_of(described), found)
    for i, one in enumerate(seen):
        if one is not None and reading.scale(one) != USUAL.scale(one) and one.values is not None:
            pixels[i], _ = decode(store.read(names[i]), shape, reading)
    if broken:
        pixels = pixels[[i for i, one in enumerate(seen) if one is not None]]
    count = len(_names(train))
    return held((pixels[:count], _labels(train)), (pixels[count:], _labels(test)), map(printable, train), found)


def _listed(path: str, root: Path) -> tuple[Store, Listing]:
    try:
        store = open_store(path, root)
        listing = store.listing()
    except UNREADABLE as error:
        message = f"the path cannot be read as a folder or a zip file in {data_root(root)}"
        raise NotPossible("dataset_missing", message) from error
    for name, size in listing.sizes.items():
        if size > LARGEST_ENTRY_BYTES:
            limit = f"{LARGEST_ENTRY_BYTES:,} bytes"
            raise NotPossible("dataset_too_large", f"the image {quoted(name)} has more than {limit}")
    return store, listing


def open_store(path: str, root: Path) -> Store:
    """Return the folder or zip at a path below the root. Raises NotPossible, and OSError where it cannot be opened."""
    place = root / path
    if not place.resolve().is_relative_to(root.resolve()):
        raise NotPossible("bad_path", f"the path points outside {data_root(root)}")
    if place.is_dir():
        return Folder(place, root)
    if place.is_file() and is_zipfile(place):
        return Archive(place)
    if not root.is_dir():
        raise NotPossible("dataset_missing", f"{data_root(root)} is not a folder")
    raise NotPossible("dataset_missing", f"the path names no folder or zip file in {data_root(root)}")


def _check_count(layout: Layout, num_classes: int, listing: Listing) -> None:
    if len(layout.train) != num_classes:
        have = f"{len(layout.train):,} {'class' if len(layout.train) == 1 else 'classes'}"
        message = f"the dataset has {have} ({joined(layout.train)}), the network {num_classes:,}; {layout.said}"
        left_out = _and_left_out({**layout.left_out, **listing.left_out})
        raise NotPossible("classes_mismatch", message + left_out)


def _and_left_out(left_out: Mapping[str, list[str]]) -> str:
    """Return what is left out, as the end of a message."""
    return "".join(f"; left out: {one}" for one in reports(left_out))


Seen = list[Facts | None]
"""What decoding showed of each file, None of a broken one."""


def _decoded(
    store: Store, names: list[str], shape: tuple[int, int, int], options: Options, pixels: Tensor | None
) -> Seen:
    """Decode all files; return what it showed, and write the images into `pixels` unless they stay on disk."""
    looks = _Looks(store, names, shape, Reading(options.background))
    seen: Seen = []
    if pixels is not None:
        for i in range(len(names)):
            image, facts = looks.at(i)
            if image is not None:
                pixels[i] = image
            seen.append(facts)
            if options.progress is not None and len(seen) % AT_ONCE == 0:
                options.progress(len(seen), len(names))
        return seen
    processes = reading_processes() if len(names) > 2 * AT_ONCE else 0
    for some in DataLoader(
        looks,
        batch_size=AT_ONCE,
        collate_fn=list,
        num_workers=processes,
        generator=torch.Generator(),  # each start draws from a generator, and the global one belongs to dropout
    ):
        seen += some
        if options.progress is not None:
            options.progress(len(seen), len(names))
    return seen


class _Looks(Dataset[Facts | None]):
    """What decoding shows of each file, None of a broken one."""

    def __init__(self, store: Store, names: list[str], shape: tuple[int, int, int], reading: Reading) -> None:
        self._store, self._names, self._shape, self._reading = store, names, shape, reading

    def __len__(self) -> int:
        return len(self._names)

    def at(self, index: int) -> tuple[Tensor, Facts] | tuple[None, None]:
        """Return a file's image and what decoding it showed."""
        try:
            return decode(self._store.read(self._names[index]), self._shape, self._reading)
        except Exception as error:  # decoders raise any kind of error at broken files
            log.warning("cannot read the image %s: %s", quoted(self._names[index]), type(error).__name__)
            return None, None

    def __getitem__(self, index: int) -> Facts | None:
        return self.at(index)[1]


def _without(layout: Layout, broken: list[str], options: Options) -> tuple[Classes, Classes]:
    """Return the classes without their broken files. Raises NotPossible if these are to be refused, or leave none."""
    if broken and not options.skip_broken:
        count = len(_names(layout.train)) + len(_names(layout.test))
        raise NotPossible(
            "bad_dataset",
            f"{len(broken):,} of {counted(count, 'image')} cannot be read: {joined(broken)}; repair or remove them, or "
            'leave them out with "broken_files": "skip" in the dataset',
        )
    gone = set(broken)
    left = [
        {label: [name for name in names if name not in gone] for label, names in part.items()}
        for part in (layout.train, layout.test)
    ]
    for part, classes in zip(("training", "testing"), left, strict=True):
        for label, names in classes.items():
            if not names:
                message = f"the class {quoted(label)} has no images for {part} that can be read"
                raise NotPossible("bad_dataset", f"{message}: {joined(broken)} cannot")
    return left[0], left[1]


def _check_range(names: list[str], seen: Seen, reading: Reading, bit_depth: int) -> None:
    """Check that the given number of bits holds all values. Raises NotPossible, which names the other files."""
    if not bit_depth:
        return
    low, high = reading.whole
    beyond = sorted(
        name
        for name, facts in zip(names, seen, strict=True)
        if facts is not None
        and facts.whole
        and facts.values is not None
        and not low <= facts.values[0] <= facts.values[1] <= high
    )
    if beyond:
        raise NotPossible(
            "bad_dataset",
            f"{counted(len(beyond), 'image')} of more than 8 bits with values outside of 0 to {high:,.0f}, the "
            f'"bit_depth" of {bit_depth}: {joined(beyond)}',
        )


def _found(listing: Listing, layout: Layout, broken: list[str], decisions: list[str]) -> Found:
    unusable = {"images that cannot be read": broken} if broken else {}
    left_out = {**unusable, **layout.left_out, **dict(sorted(listing.left_out.items()))}
    return Found(layout.said, (*layout.decisions, *decisions), reports(left_out))


def _on_disk(parts: list[Files], classes: tuple[Classes, Classes], digest: str, found: Found) -> Data:
    """Return images that are read when they are needed."""
    train, test = (Images(part, _labels(labels)) for part, labels in zip(parts, classes, strict=True))
    mean, std = standardization(train)
    return Data(train, test, tuple(map(printable, classes[0])), mean, std, f"sha256:{digest}", found)


def _names(classes: Classes) -> list[str]:
    return [name for names in classes.values() for name in names]


def _labels(classes: Classes) -> Tensor:
    return torch.tensor([label for label, names in enumerate(classes.values()) for _ in names], dtype=torch.int64)
