"""Image folders that tests write and read: files in memory, and what reading them gives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from PIL import Image

from nnmass_core.errors import NotPossible
from nnmass_core.named.datasets import Dataset
from nnmass_core.training.data import Data, Images, load

GRAY, COLOR = (1, 4, 6), (3, 4, 6)
NAMES = ("cat", "dog")

Files = dict[str, bytes]
Pixels = NDArray[Any]


def packed(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(shade: int = 90) -> bytes:
    return packed(Image.new("L", (6, 4), shade))


def classes(*names: str, below: str = "", count: int = 5, suffix: str = "png") -> Files:
    return {f"{below}{name}/{i}.{suffix}": plain(4 * i) for name in names for i in range(count)}


def write(place: Path, files: Files) -> None:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)


def as_zip(place: Path, files: Files) -> None:
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as it is: a constructor would convert it
            archive.writestr(entry, content)


def read(root: Path, shape: tuple[int, ...] = GRAY, number: int = 2, **options: Any) -> Data:
    return load(Dataset(name="imagefolder", path="set", **options), shape, number, root)


def refused(root: Path, number: int = 2, code: str = "bad_dataset", **options: Any) -> str:
    with pytest.raises(NotPossible) as refusal:
        read(root, number=number, **options)
    assert refusal.value.code == code
    return str(refusal.value)


def left_out(data: Data) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {one.reason: (one.count, one.names) for one in data.found.left_out}


def pixels(images: Images) -> Pixels:
    """Return all images, (n, height, width, channels)."""
    found: Pixels = images.__getitems__(list(range(len(images))))[0].permute(0, 2, 3, 1).numpy()
    return found
