"""Decode image files to 8 bits as people see them: turned, on a background, and scaled by the range of their values.

A file of more than 8 bits does not say which range its values use: a scan of 12 bits lies in a file of 16. The range is
that of a whole data set, so that a dark image stays darker than a bright one. Files are therefore decoded first with
`USUAL`, and again with the scale that `settle` finds for all of them, where that is another one.
"""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

from nnmass_core.codec import JsonObject
from nnmass_core.training.layout import counted

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".pbm", ".pgm", ".pnm", ".ppm", ".tif", ".tiff", ".gif"}
)
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")

DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""The numbers of bits that scanners and cameras use; the least that holds the greatest value is taken."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What to do for each EXIF orientation; 1 is upright."""

WIDE = re.compile("(RGB|RGBA|RGBX|LA);16([BLN])")
"""Pillow's names for colors of 16 bits, of which it reads only the high bytes, and for the order of their bytes."""

PHOTOMETRIC, PLANAR = 262, 284
"""Tags of TIFF: 0 where white is zero, and 2 where each channel is stored separately."""

Array = NDArray[Any]


class Scale(NamedTuple):
    """The values that become 0 and 255."""

    low: float
    high: float

    def shades(self, values: Array) -> Array:
        """Return values as 8 bits: integers by their high bits, other numbers by rounding."""
        if values.dtype.kind == "i":
            scaled = (values - int(self.low)) * 256 // (int(self.high) - int(self.low) + 1)
        else:
            scaled = (values - self.low) / (self.high - self.low) * 255
            if self != BYTES:  # values that are shades already are cut, as Pillow does
                scaled = np.rint(scaled)
        return scaled.clip(0, 255).astype(np.uint8)


BYTES, WORDS, UNIT = Scale(0, 255), Scale(0, 65_535), Scale(0, 1)


@dataclass(frozen=True)
class Reading:
    """How all files of a data set are decoded: the background, and the scales of integers and of other numbers."""

    background: str = "white"
    whole: Scale = WORDS
    real: Scale = BYTES

    def scale(self, facts: Facts) -> Scale:
        """Return the scale of a file with these facts."""
        return self.whole if facts.whole else self.real


USUAL = Reading()


class Facts(NamedTuple):
    """What decoding a file shows.

    several: it holds more than one picture (frames, pages). values: the least and the greatest value of a file with
    more than 8 bits a channel; None where the file states its range. stated: that range in bits. whole: the values are
    integers.
    """

    turned: bool = False
    transparent: bool = False
    several: bool = False
    values: tuple[float, float] | None = None
    stated: int | None = None
    whole: bool = True


def decode(packed: bytes, shape: tuple[int, int, int], reading: Reading = USUAL) -> tuple[Tensor, Facts]:
    """Return an image file's content as (channels, height, width), uint8, and what decoding it showed.

    The first frame or page is read, turned as its EXIF orientation says, put on the background where it is transparent,
    and resized bilinearly if necessary. Raises any kind of error for a broken file, as decoders do.
    """
    channels, height, width = shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _opened(packed) as file:
            wide = _wide(file)  # loading forgets it
            stated_turn = _orientation(file)
            file.load()
            turn = _orientation(file)  # Pillow turns some formats when it loads them, and then forgets the orientation
            deep = _deep(file, wide, packed)
            image = file if deep is None else deep.in_8_bits(reading)
            image, transparent = _on_background(image, reading.background)
            image = image.transpose(TURNS[turn]) if turn in TURNS else image
            image = image.convert("L" if channels == 1 else "RGB")
            several = _holds_several(file)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)  # Pillow averages when it shrinks
    pixels = torch.from_numpy(np.array(image).reshape(height, width, channels)).permute(2, 0, 1)
    facts = Facts(stated_turn in TURNS, transparent, several)
    return pixels, facts if deep is None else deep.added_to(facts)


def _opened(packed: bytes) -> Any:
    # untyped: formats have attributes of their own
    return Image.open(io.BytesIO(packed), formats=FORMATS)


def _orientation(file: Image.Image) -> int:
    try:
        return int(file.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata do not damage the picture
        return 1


def _holds_several(file: Any) -> bool:
    try:
        return bool(getattr(file, "is_animated", False))
    except Exception:  # only the first picture is read, and that one is intact
        return True


def _on_background(image: Image.Image, color: str) -> tuple[Image.Image, bool]:
    """Return an image with its transparent parts on a color, and whether there are any."""
    if not image.has_transparency_data:
        return image, False
    seen = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if seen.getchannel("A").getextrema()[0] == 255:
        return image, False
    return Image.alpha_composite(Image.new("RGBA", seen.size, color), seen), True


@dataclass(frozen=True)
class _Deep:
    """A picture of more than 8 bits a channel.

    colors: (height, width) or (height, width, 3), int64 or float64. alpha: (height, width), uint8, or None.
    """

    colors: Array
    alpha: Array | None = None
    stated: int | None = None
    white_is_zero: bool = False

    @property
    def _whole(self) -> bool:
        return bool(self.colors.dtype.kind == "i")

    def in_8_bits(self, reading: Reading) -> Image.Image:
        scale = reading.scale(Facts(whole=self._whole)) if self.stated is None else _of_bits(self.stated)
        shades = scale.shades(self.colors)
        if self.white_is_zero:
            shades = 255 - shades
        return Image.fromarray(shades if self.alpha is None else np.dstack([shades, self.alpha]))

    def added_to(self, facts: Facts) -> Facts:
        values = (float(self.colors.min()), float(self.colors.max())) if self.stated is None else None
        return facts._replace(values=values, stated=self.stated, whole=self._whole)


def _of_bits(bits: int) -> Scale:
    return Scale(0, (1 << bits) - 1)


def _depth(greatest: float) -> int:
    return next(bits for bits in DEPTHS if greatest < 1 << bits)


def _wide(file: Any) -> re.Match[str] | None:
    args = file.tile[0].args if file.tile else None
    name = args[0] if isinstance(args, tuple) and args else args
    return WIDE.fullmatch(name) if isinstance(name, str) else None


def _deep(file: Any, wide: re.Match[str] | None, packed: bytes) -> _Deep | None:
    """Return the values of a picture of more than 8 bits a channel, None of any other. Raises ValueError."""
    tags = getattr(file, "tag_v2", {})
    if tags.get(PLANAR) == 2 and max(tags.get(ExifTags.Base.BitsPerSample, (8,))) > 8:
        raise ValueError("Pillow misreads separate channels of 16 bits")
    transparent = file.info.get("transparency")
    if wide is not None:
        return _with_alpha(*_wide_channels(file, wide, packed), transparent)
    if file.mode == "F":
        colors = np.asarray(file).astype(np.float64)
        if not np.isfinite(colors).all():
            raise ValueError("has values that are not numbers")
        return _Deep(colors, white_is_zero=tags.get(PHOTOMETRIC) == 0)
    if not file.mode.startswith("I"):
        return None
    bits = 16 if file.format == "PPM" else tags.get(ExifTags.Base.BitsPerSample, (16,))[0]  # Pillow scales PPM itself
    stated = bits if file.format == "PPM" or bits < 16 else None
    colors = np.asarray(file).astype(np.int64)
    found = _with_alpha(colors, None, transparent)
    return _Deep(colors, found.alpha, stated, white_is_zero=tags.get(PHOTOMETRIC) == 0)


def _with_alpha(colors: Array, alpha: Array | None, transparent: Any) -> _Deep:
    """Return a picture with its alpha channel in 8 bits, or with the one that a transparent color stands for."""
    if alpha is not None:
        alpha = _of_bits(_depth(float(alpha.max()))).shades(alpha)
    elif isinstance(transparent, int | tuple):
        differs = colors != np.array(transparent)
        alpha = np.where(differs if differs.ndim == 2 else differs.any(2), 255, 0).astype(np.uint8)
    return _Deep(colors, alpha)


def _wide_channels(file: Any, wide: re.Match[str], packed: bytes) -> tuple[Array, Array | None]:
    """Return the colors of 16 bits of a loaded file, and its alpha channel; the low bytes are read by a second load."""
    kind, order = wide.groups()
    if kind == "LA":  # both bytes of both channels at once
        four = _loaded_as(packed, "RGBA")
        return four[..., 0] << 8 | four[..., 1], four[..., 2] << 8 | four[..., 3]
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[order]
    values = np.asarray(file).astype(np.int64) << 8 | _loaded_as(packed, f"{kind};16{other}")
    return values[..., :3], values[..., 3] if kind == "RGBA" else None


def _loaded_as(packed: bytes, name: str) -> Array:
    """Return a file's bytes as channels, read by one of Pillow's names for the order of bytes in a file."""
    with _opened(packed) as file:
        file.tile = [
            tile._replace(args=(name, *tile.args[1:]) if isinstance(tile.args, tuple) else name) for tile in file.tile
        ]
        file.load()
        return np.asarray(file).astype(np.int64)


# A whole data set


def settle(found: Sequence[Facts], background: str, bit_depth: int = 0) -> Reading:
    """Return how to decode the files of a data set, given what a first decoding showed of each.

    bit_depth: the bits that integers of more than 8 bits use; 0 for those of the greatest value.
    """
    whole = [facts.values for facts in found if facts.values is not None and facts.whole]
    real = [facts.values for facts in found if facts.values is not None and not facts.whole]
    reading = Reading(background)
    if whole:
        low, high = min(low for low, _ in whole), max(high for _, high in whole)
        scale = Scale(low, high) if low < 0 else _of_bits(_depth(high))
        reading = Reading(background, _of_bits(bit_depth) if bit_depth else scale)
    if real:
        low, high = min(low for low, _ in real), max(high for _, high in real)
        fitting = (scale for scale in (UNIT, BYTES) if low >= 0 and high <= scale.high)
        reading = Reading(background, reading.whole, next(fitting, Scale(low, max(high, low + 1))))
    return reading


def decided(found: Sequence[Facts], reading: Reading, bit_depth: int = 0) -> list[str]:
    """Return what was decided about the files of a data set, in sentences."""
    said = []
    if turned := sum(facts.turned for facts in found):
        said.append(f"{counted(turned, 'image')} turned as the EXIF orientation says")
    if transparent := sum(facts.transparent for facts in found):
        said.append(f"{counted(transparent, 'image')} with transparent parts on a {reading.background} background")
    if several := sum(facts.several for facts in found):
        said.append(f"{counted(several, 'file')} with several frames or pages: only the first is read")
    for bits in sorted({facts.stated for facts in found if facts.stated is not None}):
        stated = counted(sum(facts.stated == bits for facts in found), "image")
        said.append(f"{stated} of more than 8 bits in a file that states its range, scaled by it to 8 bits")
    deep = {
        whole: [facts.values for facts in found if facts.values is not None and facts.whole == whole]
        for whole in (True, False)
    }
    scales = {True: reading.whole, False: reading.real}
    said += [
        _scaled(values, scales[whole], whole=whole, requested=whole and bit_depth > 0)
        for whole, values in deep.items()
        if values
    ]
    if bit_depth and not deep[True]:
        said.append(f"no image needs the bit depth of {bit_depth}: none of more than 8 bits leaves its range open")
    return said


def _scaled(deep: list[tuple[float, float]], scale: Scale, *, whole: bool, requested: bool) -> str:
    least, greatest = min(low for low, _ in deep), max(high for _, high in deep)
    written = "{:,.0f}" if whole else "{:.6g}"
    low, high, black, white = map(written.format, (least, greatest, *scale))
    kind = "of more than 8 bits" if whole else "of floating-point numbers"
    bits = f"as {int(scale.high).bit_length()} bits, " if whole and scale.low == 0 else ""
    bits += "as requested, " if requested else ""
    values = f"with values from {low} to {high}, scaled {bits}from {black} to {white}"
    said = f"{counted(len(deep), 'image')} {kind} {values}"
    dark = sum(high <= BYTES.high for _, high in deep)
    return f"{said}; {dark:,} of them without a value above 255" if whole and 0 < dark < len(deep) else said


def changes(found: Sequence[Facts], reading: Reading) -> JsonObject:
    """Return what sets the decoded images apart from plain ones, for the digest of files that are not held."""
    said: JsonObject = {}
    if any(facts.turned for facts in found):
        said["turned"] = True
    if any(facts.transparent for facts in found):
        said["background"] = reading.background
    for whole, usual in ((True, USUAL.whole), (False, USUAL.real)):
        scale = reading.whole if whole else reading.real
        if scale != usual:
            said["whole" if whole else "real"] = [scale.low, scale.high]
    return said
