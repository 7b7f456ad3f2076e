"""Images in folders as people see them: turned, transparent, of more than 8 bits, and of which digest."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from PIL import Image  # noqa: E402

from nnmass_core.codec import sha256_of  # noqa: E402
from nnmass_core.training import folders  # noqa: E402
from tests.nets.folder_files import (  # noqa: E402
    COLOR,
    GRAY,
    NAMES,
    Pixels,
    classes,
    packed,
    pixels,
    read,
    refused,
    write,
)


def shown(root: Path, content: bytes, suffix: str = "png", shape: tuple[int, ...] = GRAY, **options: Any) -> Pixels:
    """Return the pixels of one file, which is the first training image of its class."""
    write(root / "set", classes("a", "b") | {f"a/!.{suffix}": content})
    first: Pixels = pixels(read(root, shape, **options).train)[0]
    return first[..., 0] if shape[0] == 1 else first


SCENE = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
STORED = {
    1: SCENE,
    2: np.fliplr(SCENE),
    3: np.rot90(SCENE, 2),
    4: np.flipud(SCENE),
    5: SCENE.T,
    6: np.rot90(SCENE, 1),
    7: np.rot90(SCENE, 2).T,
    8: np.rot90(SCENE, -1),
}
"""How a scene is stored with each EXIF orientation."""


@pytest.mark.parametrize(
    ("kind", "suffix", "options"),
    [("PNG", "png", {}), ("WEBP", "webp", {"lossless": True}), ("TIFF", "tif", {}), ("JPEG", "jpg", {"quality": 100})],
)
def test_images_are_turned_as_their_exif_orientation_says(
    kind: str, suffix: str, options: dict[str, Any], tmp_path: Path
) -> None:
    for orientation, stored in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = packed(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
        seen = shown(tmp_path, content, suffix)
        assert int(np.abs(seen.astype(int) - SCENE).max()) <= (3 if kind == "JPEG" else 1 if kind == "WEBP" else 0)
        decisions = read(tmp_path).found.decisions
        assert decisions == (() if orientation == 1 else ("1 image turned as the EXIF orientation says",))


def test_damaged_metadata_do_not_damage_the_image(tmp_path: Path) -> None:
    content = packed(Image.fromarray(SCENE), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09junk")
    assert np.array_equal(shown(tmp_path, content), SCENE)


def colored(*values: Any) -> Pixels:
    return np.dstack([np.broadcast_to(np.asarray(value, np.uint8), (4, 6)) for value in values])


def palette(transparency: int | bytes) -> bytes:
    """Return a PNG with a palette of black, red and white; SCENE % 30 // 10 says where."""
    image = Image.fromarray((SCENE // 10 % 3).astype(np.uint8)).convert("P")
    image.putdata((SCENE // 10 % 3).flatten().tolist())
    image.putpalette([0, 0, 0, 200, 0, 0, 255, 255, 255])
    return packed(image, transparency=transparency)


def test_transparent_parts_have_a_white_background_or_a_black_one(tmp_path: Path) -> None:
    logo = packed(Image.fromarray(colored(0, 0, 0, SCENE)))
    assert np.array_equal(shown(tmp_path, logo), 255 - SCENE)
    assert np.array_equal(shown(tmp_path, logo, shape=COLOR)[..., 1], 255 - SCENE)
    assert read(tmp_path).found.decisions == ("1 image with transparent parts on a white background",)
    assert shown(tmp_path, logo, background="black").max() == 0
    white = read(tmp_path).digest
    assert read(tmp_path, background="black").digest != white


@pytest.mark.parametrize(
    ("content", "suffix", "expected"),
    [
        (packed(Image.fromarray(colored(60, SCENE))), "png", np.rint((60 * (SCENE / 255)) + 255 - SCENE)),
        (packed(Image.fromarray(colored(60, SCENE)), "TIFF"), "tif", np.rint((60 * (SCENE / 255)) + 255 - SCENE)),
        (palette(0), "png", np.array([255, 60, 255])[SCENE // 10 % 3]),
        (palette(b"\0\x80\xff"), "png", np.array([255, 157, 255])[SCENE // 10 % 3]),
        (packed(Image.fromarray(SCENE), transparency=70), "png", np.where(SCENE == 70, 255, SCENE)),
        (packed(Image.fromarray(SCENE), "GIF", transparency=0), "gif", np.where(SCENE == 0, 255, SCENE)),
    ],
    ids=["gray", "tif", "one color of a palette", "a palette", "one gray", "gif"],
)
def test_transparency_of_every_kind_is_seen(content: bytes, suffix: str, expected: Pixels, tmp_path: Path) -> None:
    assert np.abs(shown(tmp_path, content, suffix) - expected.astype(int)).max() <= 1


def test_opaque_images_with_an_alpha_channel_stay_as_they_are(tmp_path: Path) -> None:
    assert np.array_equal(shown(tmp_path, packed(Image.fromarray(colored(SCENE, 255)))), SCENE)
    assert read(tmp_path).found.decisions == ()


def deep(values: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    return packed(Image.fromarray(values), kind, **options)


def png_of_16_bits(values: Pixels) -> bytes:
    """Return a PNG with channels of 16 bits, which Pillow does not write: gray and alpha, colors, colors and alpha."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tif_of_16_bits(values: Pixels, order: str, photometric: int, planar: int = 1) -> bytes:
    """Return a TIFF with channels of 16 bits in one byte order, which Pillow does not write."""
    height, width, channels = values.shape
    content = values.transpose(2, 0, 1) if planar == 2 else values
    data = content.astype(f"{order}u2").tobytes()
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    plane = len(data) // channels
    bits_at = 8 + len(data)
    offsets_at = bits_at + len(bits)
    strips = channels if planar == 2 else 1
    offsets = struct.pack(f"{order}{strips}I", *(8 + i * plane for i in range(strips)))
    sizes = struct.pack(f"{order}{strips}I", *[len(data) // strips] * strips)
    several = strips > 1
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, bits_at if channels > 2 else 16),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, strips, offsets_at if several else 8),
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, 4, strips, offsets_at + len(offsets) if several else len(data)),
        (284, 3, 1, planar),
    ]
    tail = bits + offsets + sizes
    at = 8 + len(data) + len(tail)
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    return head + data + tail + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)


WORDS = SCENE.astype(np.uint16)
PGM = b"P5 6 4 4095\n" + (WORDS * 16).astype(">u2").tobytes()
THREE = np.dstack([WORDS, WORDS[::-1], WORDS // 2])
FROM_0_TO_1 = (SCENE / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("content", "suffix", "said"),
    [
        (deep(WORDS * 16), "png", "scaled as 12 bits, from 0 to 4,095"),
        (deep(WORDS * 4), "png", "scaled as 10 bits, from 0 to 1,023"),
        (deep(WORDS), "png", "scaled as 8 bits, from 0 to 255"),
        (deep(WORDS * 256 + 3), "png", "scaled as 16 bits, from 0 to 65,535"),
        (deep(WORDS * 16, "TIFF"), "tif", "scaled as 12 bits"),
        (deep(WORDS * 16, "TIFF", compression="tiff_lzw"), "TIF", "scaled as 12 bits"),
        (tif_of_16_bits(WORDS[..., None] * 16, ">", 1), "tiff", "scaled as 12 bits"),
        (tif_of_16_bits(255 * 256 + 255 - WORDS[..., None] * 256, "<", 0), "tif", "scaled as 16 bits"),
        (deep(WORDS.astype(np.int32) * 16, "TIFF"), "tif", "scaled as 12 bits"),
        (deep(WORDS.astype(np.int32) * 2**16, "TIFF"), "tif", "scaled as 24 bits, from 0 to 16,777,215"),
        (deep(WORDS.astype(np.int32) - 115, "TIFF"), "tif", "from -115 to 115, scaled from -115 to 115"),
        (deep(FROM_0_TO_1, "TIFF"), "tif", "1 image of floating-point numbers"),
        (deep(SCENE.astype(np.float32), "TIFF"), "tif", "scaled from 0 to 255"),
        (deep(SCENE.astype(np.float32) - 100, "TIFF"), "tif", "scaled from -100 to 130"),
        (PGM, "pgm", "in a file that states its range"),
    ],
)
def test_grays_of_more_than_8_bits_are_scaled_by_their_range(
    content: bytes, suffix: str, said: str, tmp_path: Path
) -> None:
    seen = shown(tmp_path, content, suffix)
    stretched = "115" in said or "130" in said  # over their own range, since nothing states another one
    expected = np.rint(SCENE.astype(float) * 255 / 230) if stretched else SCENE
    assert np.abs(seen - expected.astype(int)).max() <= (1 if stretched else 0)
    (decision,) = read(tmp_path).found.decisions
    assert said in decision


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (png_of_16_bits(THREE * 16), "png"),
        (png_of_16_bits(np.dstack([THREE * 16, np.full((4, 6), 4095)])), "png"),
        (tif_of_16_bits(THREE * 16, "<", 2), "tif"),
        (tif_of_16_bits(THREE * 16, ">", 2), "tif"),
    ],
    ids=["colors", "colors and alpha", "tif of little endian", "tif of big endian"],
)
def test_colors_of_more_than_8_bits_are_scaled_by_their_range(content: bytes, suffix: str, tmp_path: Path) -> None:
    assert np.array_equal(shown(tmp_path, content, suffix, COLOR), THREE)
    (decision,) = read(tmp_path).found.decisions
    assert "with values from 0 to 3,680, scaled as 12 bits, from 0 to 4,095" in decision


def test_a_gray_of_16_bits_with_transparency_is_scaled_and_put_on_the_background(tmp_path: Path) -> None:
    content = png_of_16_bits(np.dstack([np.full((4, 6), 0), WORDS * 257]))
    assert np.array_equal(shown(tmp_path, content), 255 - SCENE)
    one = deep(WORDS * 16, transparency=1120)
    assert np.array_equal(shown(tmp_path, one), np.where(SCENE == 70, 255, SCENE))


def test_separate_channels_of_16_bits_are_refused_rather_than_misread(tmp_path: Path) -> None:
    write(tmp_path / "set", classes("a", "b") | {"a/!.tif": tif_of_16_bits(THREE, "<", 2, planar=2)})
    assert "1 of 11 images cannot be read: a/!.tif" in refused(tmp_path)


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_range_is_that_of_all_files_so_that_a_dark_image_stays_dark(
    on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{name}/{i}.png": deep(WORDS * (i + 1)) for name in "ab" for i in range(16)}
    write(tmp_path / "set", files)
    if on_disk:
        monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    data = read(tmp_path)
    names = sorted(f"{i}.png" for i in range(16))
    factors = [int(name.partition(".")[0]) + 1 for i, name in enumerate(names) if i % 5 != 4]
    expected = [WORDS * factor // 16 for factor in factors]
    assert np.array_equal(pixels(data.train)[..., 0], np.stack([*expected, *expected]))
    (decision,) = data.found.decisions
    assert decision.endswith("scaled as 12 bits, from 0 to 4,095; 2 of them without a value above 255")


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_bit_depth_that_is_given_applies_to_values_that_stay_below_it(
    on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values up to 14,720 of true 16 bits: as 14 bits, the least that holds them, they are four times as bright."""
    files = classes("b") | {f"a/{i}.png": deep(WORDS * 64 + i) for i in range(5)}
    write(tmp_path / "set", files)
    if on_disk:
        monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    usual = read(tmp_path)
    assert np.array_equal(pixels(usual.train)[0, ..., 0], SCENE)
    assert "scaled as 14 bits, from 0 to 16,383" in usual.found.decisions[0]
    given = {bits: read(tmp_path, bit_depth=bits) for bits in (14, 15, 16, 24)}
    for bits, data in given.items():
        assert np.array_equal(pixels(data.train)[0, ..., 0], (WORDS * 64) >> (bits - 8))
        (decision,) = data.found.decisions
        assert f"scaled as {bits} bits, as requested, from 0 to {2**bits - 1:,}" in decision
    assert len({data.digest for data in (usual, *given.values())}) == 4  # 14 bits are those that were found
    assert given[14].digest == usual.digest
    if on_disk:  # release 0.1.0 read these files as 16 bits
        sizes = sorted((name, len(content)) for name, content in files.items())
        assert given[16].digest == f"sha256:{sha256_of(['1 x 4 x 6', sizes])}"


def test_values_beyond_the_bit_depth_that_is_given_are_refused_and_named(tmp_path: Path) -> None:
    negative = deep(WORDS.astype(np.int32) - 115, "TIFF")
    write(tmp_path / "set", classes("a", "b") | {"a/!.png": deep(WORDS * 16), "b/!.tif": negative})
    message = refused(tmp_path, bit_depth=11)
    assert 'outside of 0 to 2,047, the "bit_depth" of 11: a/!.png, b/!.tif' in message
    assert message.startswith("2 images of more than 8 bits")
    assert refused(tmp_path, bit_depth=12).endswith(": b/!.tif")


def test_a_bit_depth_that_applies_to_no_image_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "set", classes("a", "b") | {"a/!.pgm": PGM})
    data = read(tmp_path, bit_depth=16)
    assert np.array_equal(pixels(data.train)[0, ..., 0], SCENE)
    assert data.found.decisions[-1].startswith("no image needs the bit depth of 16")
    assert data.digest == read(tmp_path).digest


def test_half_of_the_files_in_tif_and_a_class_of_gif_are_read(tmp_path: Path) -> None:
    files = classes("cat") | {f"cat/{i}.tif": packed(Image.fromarray(SCENE), "TIFF") for i in range(5)}
    files |= {f"dog/{i}.GIF": packed(Image.fromarray(SCENE), "GIF") for i in range(5)}
    write(tmp_path / "set", files)
    data = read(tmp_path)
    assert (data.classes, data.train.labels.tolist()) == (NAMES, [0] * 8 + [1] * 4)
    assert np.array_equal(pixels(data.train)[1, ..., 0], SCENE)
    assert data.found.left_out == ()


@pytest.mark.parametrize(("kind", "suffix"), [("GIF", "gif"), ("TIFF", "tiff"), ("WEBP", "webp"), ("PNG", "png")])
def test_the_first_of_several_frames_or_pages_is_read(kind: str, suffix: str, tmp_path: Path) -> None:
    more = [Image.fromarray(255 - SCENE)]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = packed(Image.fromarray(SCENE), kind, save_all=True, append_images=more, **lossless)
    assert np.abs(shown(tmp_path, content, suffix) - SCENE.astype(int)).max() <= 1
    assert read(tmp_path).found.decisions == ("1 file with several frames or pages: only the first is read",)


def test_files_of_ink_and_of_single_bits_are_read(tmp_path: Path) -> None:
    ink = packed(Image.new("CMYK", (6, 4), (255, 255, 0, 0)), "JPEG", quality=100)
    assert np.abs(shown(tmp_path, ink, "JPG", COLOR) - np.array([0, 0, 255])).max() <= 3
    bits = Image.fromarray(SCENE).point(lambda value: 255 * (value > 100), "1")
    for kind, suffix in (("PNG", "png"), ("TIFF", "tif"), ("PPM", "pbm")):
        root = tmp_path / suffix
        assert np.array_equal(shown(root, packed(bits, kind), suffix), np.where(SCENE > 100, 255, 0))
        assert read(root).found.decisions == ()
    assert read(tmp_path).found.decisions == ()


def drawn(seed: int, mode: str) -> bytes:
    """Return a small PNG of noise that needs no decision."""
    noise = np.random.default_rng(seed)
    if mode == "16":
        return deep(noise.integers(0, 65_536, (9, 7)).astype(np.uint16))
    shades = noise.integers(0, 256, (9, 7, {"RGB": 3, "RGBA": 4}.get(mode, 1))).astype(np.uint8)
    if mode == "RGBA":
        shades[..., 3] = 255
    image = Image.fromarray(shades if len(mode) > 1 else shades[..., 0])
    return packed(image.convert(mode) if mode in "P1" else image)


def test_files_that_need_no_decision_keep_their_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, seed = ("RGB", "L", "RGBA", "16", "P", "1"), 0
    files = {}
    for part, count in (("train", 6), ("val", 2)):
        for name in ("b", "a"):
            for i in range(count):
                seed += 1
                files[f"{part}/{name}/{i}.png"] = drawn(seed, modes[i])
    write(tmp_path / "set", files)
    # computed with the release 0.1.0
    assert read(tmp_path, (3, 9, 7)).digest == "sha256:8564644c62260e60946f9ae4065f0ac498b51186c178c8837af44fa59665b880"
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    sizes = sorted((name, len(content)) for name, content in files.items())
    assert read(tmp_path, (3, 9, 7)).digest == f"sha256:{sha256_of(['3 x 9 x 7', sizes])}"
    write(tmp_path / "set", {"train/a/9.png": packed(Image.fromarray(colored(0, SCENE)))})
    seen = read(tmp_path, (3, 9, 7)).digest
    assert read(tmp_path, (3, 9, 7)).digest == seen
    assert read(tmp_path, (3, 9, 7), background="black").digest != seen


def test_files_on_disk_that_were_read_otherwise_before_have_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    turned = Image.Exif()
    turned[0x0112] = 6
    exif, scan = packed(Image.fromarray(SCENE), exif=turned), deep(WORDS * 16)
    usual = classes(*NAMES, below="train/") | classes(*NAMES, below="val/")
    sets = {
        "parts": classes(*NAMES, below="train/") | classes(*NAMES, below="valid/"),
        "turned": usual | {"train/cat/0.png": exif},
        "scanned": usual | {"train/cat/0.png": scan},
        "skipped": usual | {"train/cat/0.png": b"?"},
    }
    for name, files in sets.items():
        root = tmp_path / name
        write(root / "set", files)
        sizes = sorted((name, len(content)) for name, content in files.items())
        assert read(root, broken_files="skip").digest != f"sha256:{sha256_of(['1 x 4 x 6', sizes])}"
