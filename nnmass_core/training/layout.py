"""The layout of an image folder: which files are of which class, and for training or for testing, by their names alone.

Names are paths below the folder or zip, their parts separated by /. What the layout leaves out is reported, never
dropped silently; a folder that can be read in two ways is refused.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from nnmass_core.codec import JsonObject, printable
from nnmass_core.errors import NotPossible

PARTS = {
    "training": ("train", "training"),
    "testing": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev"),
}
"""The names of the parts of a split, in any case. Validation images are for testing where there are no other ones."""

OTHER_PICTURES = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".tga", ".ico", ".exr", ".dcm", ".npy"}
    | {".dng", ".nef", ".cr2", ".cr3", ".arw", ".raw"}
)
"""Suffixes of pictures that are not read; a folder with nothing else may be a class."""

EMPTY = "folders in the place of a class, without an image that can be read"
HIDDEN = "hidden files and folders, and those that macOS adds"

IN_A_REPORT, IN_A_MESSAGE, IN_A_LINE = 100, 20, 5
"""The most names in the list of a report, a message and a line of a log; the rest is counted."""

MOST_REASONS = 20
"""The most kinds of files in a report; the rest is one kind."""

Classes = dict[str, list[str]]
"""The names of images by class."""


@dataclass(frozen=True)
class LeftOut:
    """Files or folders that are not used: why, how many, and the names of the first of them."""

    reason: str
    count: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, reason: str, names: Sequence[str]) -> LeftOut:
        """Return a report of these names."""
        return cls(reason, len(names), tuple(map(quoted, sorted(names)[:IN_A_REPORT])))

    def __str__(self) -> str:
        return f"{self.reason}: {self.count:,} ({joined(self.names[:IN_A_LINE], self.count)})"


def reports(left_out: Mapping[str, Sequence[str]]) -> tuple[LeftOut, ...]:
    """Return reports of names by the reason why they are left out; of many reasons, the last are one."""
    found = list(left_out.items())
    if len(found) > MOST_REASONS:
        rest = [name for _, names in found[MOST_REASONS - 1 :] for name in names]
        found = [*found[: MOST_REASONS - 1], ("other files", rest)]
    return tuple(LeftOut.of(reason, names) for reason, names in found)


@dataclass(frozen=True)
class Found:
    """What was found in an image folder: its layout in a sentence, decisions about files, and what is left out."""

    layout: str = ""
    decisions: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> JsonObject:
        """Write it as JSON-ready objects."""
        left_out = [asdict(one) | {"names": list(one.names)} for one in self.left_out]
        return {"layout": self.layout, "decisions": list(self.decisions), "left_out": left_out}

    def lines(self) -> Iterator[str]:
        """Yield it line by line, for a log."""
        yield from filter(None, (self.layout, *self.decisions))
        yield from (f"left out: {one}" for one in self.left_out)


NOTHING = Found()
"""What is found of a data set that is no image folder."""


@dataclass(frozen=True)
class Listing:
    """The content of a folder or zip: images with their sizes in bytes, all folders, and files that are not read.

    left_out: the names of other files by what they are ("files that end in .txt").
    """

    sizes: Mapping[str, int]
    folders: frozenset[str]
    left_out: Mapping[str, list[str]]


@dataclass(frozen=True)
class Layout:
    """The sorted images for training and for testing by class, classes sorted, and the rest.

    parts: the names of the folders for training and testing, if there are two.
    """

    train: Classes
    test: Classes
    said: str
    parts: tuple[str, ...] = ()
    decisions: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)


def counted(number: int, one: str) -> str:
    """Return a number of things: 1 image, 2,000 images."""
    return f"{number:,} {one if number == 1 else f'{one}s'}"


def quoted(name: str) -> str:
    """Return a file's name for a message; for a long name its end, which distinguishes images."""
    return printable(name[-64:])


def joined(names: Iterable[str], count: int | None = None) -> str:
    """Return names for a message: the first of them, and how many more there are."""
    names = list(names)
    more = (len(names) if count is None else count) - len(names[:IN_A_MESSAGE])
    first = ", ".join(map(quoted, names[:IN_A_MESSAGE]))
    return f"{first} and {more:,} more" if more else first


def same(name: str) -> str:
    """Return a form of a name that is equal for names that look alike but for upper and lower case."""
    return unicodedata.normalize("NFC", name).casefold()


def arrange(listing: Listing) -> Layout:
    """Return which images are for training and for testing, by class. Raises NotPossible (`bad_dataset`).

    Either the folders of a split hold the folders of classes (see `PARTS`; anything else is left out), or there are
    only folders of classes, and every fifth image of each is for testing. Either may lie deeper, in folders that hold
    nothing else.
    """
    names, top = sorted(listing.sizes), ""
    while True:
        below = _below(names, top)
        split = _split(set(below), _below(listing.folders, top), top)
        if split is not None:
            return _divided(names, top, *split, listing)
        if len(below) > 1 or any(name.removeprefix(top).count("/") < 2 for name in names):
            return _undivided(names, top, listing)
        (only,) = below
        _check_alone(only, top, listing)
        top += f"{only}/"


def _below(names: Iterable[str], top: str) -> dict[str, None]:
    """Return the first parts of the names below a folder, in order, each once."""
    return dict.fromkeys(name.removeprefix(top).split("/")[0] for name in names if name.startswith(top) and name != top)


def _split(holding: set[str], folders: Iterable[str], top: str) -> tuple[str, str] | None:
    """Return the folders for training and testing among those of one level; None where there is no split.

    holding: those that hold images. Raises NotPossible for a split that is incomplete or not clear.
    """
    found = {
        part: sorted(name for name in {*folders, *holding} if same(name) in called) for part, called in PARTS.items()
    }
    full = {part: [name for name in names if name in holding] for part, names in found.items()}
    testing = "testing" if full["testing"] or not full["validation"] else "validation"
    for part in ("training", testing):
        if len(full[part]) > 1:
            both = joined(f"{top}{name}/" for name in full[part])
            raise _bad(f"the folders {both} have the same meaning, images for {part}; rename or remove one of them")
    if full["training"] and full[testing]:
        return full["training"][0], full[testing][0]
    named = [name for names in found.values() for name in names]
    alone = len(named) == 1 and len(holding) == 1  # its images are split
    if holding.intersection(named) and not alone:
        missing = "training" if not full["training"] else "testing"
        wanted = PARTS["training"] if missing == "training" else (*PARTS["testing"], *PARTS["validation"])
        raise _bad(
            f"a folder named {joined(f'{top}{name}/' for name in named)} is a part of a split, never a class, and no "
            f"images for {missing} are next to it, in a folder named {', '.join(wanted[:-1])} or {wanted[-1]}"
        )
    return None


def _check_alone(only: str, top: str, listing: Listing) -> None:
    """Refuse to look for classes inside the only folder with images if there are empty folders next to it."""
    without = [name for name in _below(listing.folders, top) if name != only and _may_be_class(f"{top}{name}", listing)]
    parts = {same(name) for name in (only, *_below(listing.sizes, f"{top}{only}/"))}
    if without and not parts.intersection(name for names in PARTS.values() for name in names):
        raise _bad(
            f"only {top}{only}/ has images, and {joined(f'{top}{name}/' for name in without)} has none: either these "
            f"folders are the classes, and images are missing, or the classes are the folders in {top}{only}/; add "
            "images for the first, remove the empty folders for the second"
        )


def _may_be_class(folder: str, listing: Listing) -> bool:
    """Return whether a folder without images that are read is empty or holds other pictures, but no other files."""
    files = [name for why, names in listing.left_out.items() if why != HIDDEN for name in names]
    within = [name for name in files if name.startswith(f"{folder}/")]
    return all(PurePosixPath(name).suffix.lower() in OTHER_PICTURES for name in within)


def _divided(names: list[str], top: str, training: str, testing: str, listing: Listing) -> Layout:
    """Return the layout of a split."""
    parts = [f"{top}{part}/" for part in (training, testing)]
    train, test = (_by_class(names, part) for part in parts)
    left: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not name.startswith(tuple(parts)):
            folder, below, _ = name.removeprefix(top).partition("/")
            where = f"in {quoted(f'{top}{folder}/')}" if below else "outside the folders of the split"
            left[f"images {where}, which are not used"].append(name)
    _check(train, test, "")
    said = f"{quoted(parts[0])} is for training, {quoted(parts[1])} for testing"
    return _described(Layout(train, test, said, (training, testing), left_out=dict(left)), parts, listing)


def _undivided(names: list[str], top: str, listing: Listing) -> Layout:
    """Return the layout of folders of classes."""
    whole = _by_class(names, top)
    _check_clear(whole, top)
    train = {label: [name for i, name in enumerate(whole[label]) if i % 5 != 4] for label in whole}
    test = {label: whole[label][4::5] for label in whole}
    _check(train, test, ", since every fifth is for testing and it has fewer than 5")
    said = "every fifth image of each class is for testing"
    said = f"the classes are the folders in {quoted(top)}; {said}" if top else said
    return _described(Layout(train, test, said), [top], listing)


def _described(layout: Layout, places: list[str], listing: Listing) -> Layout:
    """Add to a layout the folders without images in the places of classes, and names that are almost equal."""
    empty = [
        f"{place}{name}/"
        for place in places
        for name in sorted(_below(listing.folders, place))
        if name not in layout.train
    ]
    if empty:
        layout.left_out[EMPTY] = empty
    for alike in _alike(layout.train):
        layout.decisions.append(f"the classes {joined(alike)} count as different although their names are almost equal")
    return layout


def _alike(labels: Iterable[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        groups[same(label)].append(label)
    return [group for group in groups.values() if len(group) > 1]


def _by_class(names: list[str], prefix: str) -> Classes:
    found: Classes = defaultdict(list)
    for name in names:
        if name.startswith(prefix):
            label, below, _ = name.removeprefix(prefix).partition("/")
            if not below:
                raise _bad(f"the image {quoted(name)} is not in the folder of a class")
            found[label].append(name)
    return {label: found[label] for label in sorted(found)}


def _check_clear(classes: Classes, top: str) -> None:
    """Refuse folders that hold the same sub-folders: either of both may be the classes."""
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for label, names in classes.items():
        for folder in _below((name for name in names if name.count("/") > top.count("/") + 1), f"{top}{label}/"):
            holders[same(folder)][label] = folder
    found = [holding for holding in holders.values() if len(holding) > 1]
    if len(found) < 2:  # a folder of the same name in each class, such as images/, is not a set of classes
        return
    shared = sorted(next(iter(holding.values())) for holding in found)
    outer = sorted({label for holding in found for label in holding})
    raise _bad(
        f"the folders {joined(outer)} hold the same sub-folders, {joined(shared)}: either the classes are "
        f"{joined(outer)}, or they are {joined(shared)} and {joined(outer)} are parts of the data set. For the first, "
        "move the images out of the sub-folders; for the second, name the parts train and test"
    )


def _check(train: Classes, test: Classes, why: str) -> None:
    alike = {label: group for group in _alike({*train, *test}) for label in group}
    for label in sorted({*train, *test}):
        for part, classes in (("training", train), ("testing", test)):
            if not classes.get(label):
                others = [quoted(other) for other in alike.get(label, []) if other != label]
                hint = f"; there is also {', '.join(others)}, an almost equal name" if others else why
                raise _bad(f"the class {quoted(label)} has no images for {part}{hint}")


def _bad(message: str) -> NotPossible:
    return NotPossible("bad_dataset", message)
