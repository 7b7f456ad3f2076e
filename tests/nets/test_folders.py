"""Image folders as people have them: their names, layouts and faults. Nothing is dropped without a report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from nnmass_core.training import folders  # noqa: E402
from tests.nets.folder_files import (  # noqa: E402
    NAMES,
    Files,
    as_zip,
    classes,
    left_out,
    pixels,
    plain,
    read,
    refused,
    write,
)

# Splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *[("train", name) for name in ("valid", "validation", "val", "dev", "testing", "Test")],
        *[("Train", "Test"), ("training", "testing"), ("TRAINING", "Valid")],
    ],
)
def test_the_parts_of_a_split_are_no_classes(train: str, test: str, tmp_path: Path) -> None:
    write(tmp_path / "set", classes(*NAMES, below=f"{train}/", count=3) | classes(*NAMES, below=f"{test}/", count=2))
    data = read(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (NAMES, 6, 4)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.found.layout == f"{train}/ is for training, {test}/ for testing"


@pytest.mark.parametrize("validation", ["val", "Validation"])
def test_of_three_parts_the_validation_images_are_left_out(validation: str, tmp_path: Path) -> None:
    parts = {"train": 4, "test": 2, validation: 3}
    write(
        tmp_path / "set",
        {k: v for part, n in parts.items() for k, v in classes(*NAMES, below=f"{part}/", count=n).items()},
    )
    data = read(tmp_path)
    assert (len(data.train), len(data.test)) == (8, 4)
    ((reason, (count, names)),) = left_out(data).items()
    assert (reason, count) == (f"images in {validation}/, which are not used", 6)
    assert names[0] == f"{validation}/cat/0.png"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            classes("a", below="train/") | classes("b", below="more/"),
            "named train/ is a part of a split, never a class",
        ),
        (classes("test", "control"), "named test/ is a part of a split, never a class"),
        (classes(*NAMES, below="test/") | classes(*NAMES, below="val/"), "no images for training are next to it"),
        (classes(*NAMES, below="train/") | {"Test/cat/notes.txt": b"!"}, "no images for testing are next to it"),
        (
            classes(*NAMES, below="train/") | classes(*NAMES, below="Training/") | classes(*NAMES, below="test/"),
            "Training/, train/ have the same meaning",
        ),
        (
            classes(*NAMES, below="train/") | classes("Cat", "dog", below="test/"),
            "the class Cat has no images for training; there is also cat, an almost equal name",
        ),
        (classes("a", "b", count=4), "the class a has no images for testing, since every fifth is for testing"),
    ],
)
def test_a_split_that_is_not_complete_or_not_clear_is_refused(files: Files, words: str, tmp_path: Path) -> None:
    write(tmp_path / "set", files)
    assert words in refused(tmp_path)


def test_a_part_of_a_split_without_images_is_left_out_next_to_classes(tmp_path: Path) -> None:
    write(tmp_path / "set", classes(*NAMES) | {"test/notes.txt": b"!"})
    data = read(tmp_path)
    assert data.classes == NAMES
    assert ("test/",) in [names for _, names in left_out(data).values()]


def test_training_images_alone_are_split(tmp_path: Path) -> None:
    write(tmp_path / "set", classes(*NAMES, below="train/"))
    data = read(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (NAMES, 8, 2)
    assert data.found.layout == "the classes are the folders in train/; every fifth image of each class is for testing"


# Layouts


def test_folders_with_the_same_sub_folders_can_be_read_in_two_ways(tmp_path: Path) -> None:
    write(tmp_path / "set", classes(*NAMES, below="first/") | classes("Cat", "dog", below="second/"))
    message = refused(tmp_path)
    assert "the folders first, second hold the same sub-folders, cat, dog" in message
    assert "either the classes are first, second, or they are cat, dog" in message


def test_a_sub_folder_of_the_same_name_in_each_class_is_clear(tmp_path: Path) -> None:
    write(tmp_path / "set", classes("images", below="cat/") | classes("images", below="dog/"))
    assert read(tmp_path).classes == NAMES


def test_classes_are_found_below_several_folders_of_a_zip(tmp_path: Path) -> None:
    extra = {"__MACOSX/set/photos/train/cat/._0.png": b"?", "set/photos/.DS_Store": b"?", "set/photos/train/": b""}
    files = classes(*NAMES, below="set/photos/train/") | classes(*NAMES, below="set/photos/test/", count=2)
    as_zip(tmp_path / "set", files | extra)
    data = read(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (NAMES, 10, 4)
    assert data.found.layout == "set/photos/train/ is for training, set/photos/test/ for testing"
    names = ("__MACOSX/set/photos/train/cat/._0.png", "set/photos/.DS_Store")
    assert left_out(data) == {"hidden files and folders, and those that macOS adds": (2, names)}


def test_classes_are_not_looked_for_in_the_only_class_with_images(tmp_path: Path) -> None:
    write(tmp_path / "set", classes("front", "side", below="cat/") | {"dog/1.heic": b"?"})
    assert "only cat/ has images, and dog/ has none" in refused(tmp_path)
    write(tmp_path / "set", {"dog/labels.txt": b"?"})
    assert read(tmp_path).classes == ("front", "side")


def test_classes_whose_names_differ_in_case_are_two_classes(tmp_path: Path) -> None:
    write(tmp_path / "set", classes("A", "a"))
    if len(list((tmp_path / "set").iterdir())) == 1:
        pytest.skip("the file system knows no case")
    data = read(tmp_path)
    assert data.classes == ("A", "a")
    assert data.found.decisions == ("the classes A, a count as different although their names are almost equal",)


def test_a_zip_with_backslashes_is_read(tmp_path: Path) -> None:
    files = {name.replace("/", "\\"): content for name, content in classes(*NAMES, below="set/").items()}
    as_zip(tmp_path / "set", files | {"set\\cat\\": b"", "set\\bird\\": b""})
    data = read(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (NAMES, 8, 2)
    assert pixels(data.train)[:4, 0, 0, 0].tolist() == [0, 4, 8, 12]
    assert [names for _, names in left_out(data).values()] == [("set/bird/",)]


def test_a_backslash_is_a_character_where_the_other_names_have_slashes(tmp_path: Path) -> None:
    files = classes("a", "b\\c")
    as_zip(tmp_path / "set", files)
    assert read(tmp_path).classes == ("a", "b\\c")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    as_zip(tmp_path / "set", classes(*NAMES))
    whole = bytearray((tmp_path / "set").read_bytes())
    for found in re.finditer(b"PK\x01\x02", bytes(whole)):
        whole[found.start() + 8] |= 1
    (tmp_path / "set").write_bytes(whole)
    assert "encrypted" in refused(tmp_path)


# Reports


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    files = classes(*NAMES) | {f"cat/{i:03}.HEIC": b"?" for i in range(120)} | {"notes": b"!", ".hidden/x.png": b"?"}
    write(tmp_path / "set", files)
    (tmp_path / "set/bird").mkdir()
    (tmp_path / "set/cat/again").symlink_to(tmp_path / "set/dog")
    (tmp_path / "set/cat/gone.png").symlink_to(tmp_path / "set/nothing.png")
    data = read(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (NAMES, 8, 2)
    assert left_out(data) == {
        "folders in the place of a class, without an image that can be read": (1, ("bird/",)),
        "files that end in .heic": (120, tuple(f"cat/{i:03}.HEIC" for i in range(100))),
        "files without a suffix": (1, ("notes",)),
        "hidden files and folders, and those that macOS adds": (1, (".hidden",)),
        "links that lead nowhere, and special files": (1, ("cat/gone.png",)),
        "links to a folder that is read already": (1, ("cat/again",)),
    }
    (line,) = (line for line in data.found.lines() if "heic" in line)
    assert line.endswith(": 120 (cat/000.HEIC, cat/001.HEIC, cat/002.HEIC, cat/003.HEIC, cat/004.HEIC and 115 more)")


def test_files_of_many_kinds_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path / "set", classes(*NAMES) | {f"notes.{i:02}": b"!" for i in range(30)})
    reported = left_out(read(tmp_path))
    assert len(reported) == 20
    assert reported["other files"] == (11, tuple(f"notes.{i}" for i in range(19, 30)))


def test_a_number_of_classes_that_does_not_fit_names_the_classes_and_what_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "set", classes(*NAMES) | {"bird/1.heic": b"?"})
    (tmp_path / "set/fish").mkdir()
    message = refused(tmp_path, 4, "classes_mismatch")
    assert "the dataset has 2 classes (cat, dog), the network 4" in message
    assert "without an image that can be read: 2 (bird/, fish/)" in message
    assert "files that end in .heic: 1 (bird/1.heic)" in message


def test_errors_about_paths_name_the_data_root_and_its_setting(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert refused(root, code="dataset_missing") == f"the worker's data root {root} (NNMASS_DATA_ROOT) is not a folder"
    root.mkdir()
    write(tmp_path / "outside", classes(*NAMES))
    where = f"the worker's data root {root} (NNMASS_DATA_ROOT)"
    assert refused(root, code="dataset_missing") == f"the path names no folder or zip file in {where}"
    (root / "set").symlink_to(tmp_path / "outside")
    assert refused(root, code="bad_path") == f"the path points outside {where}"
    (root / "set").unlink()
    (root / "set").mkdir()
    (root / "set/x").symlink_to(tmp_path / "outside")
    assert refused(root, code="bad_path") == f"the link x points outside {where}"
    (root / "set/x").unlink()
    (root / "set").rmdir()
    as_zip(root / "set", classes(*NAMES))
    (root / "set").write_bytes((root / "set").read_bytes()[:-9] + b"x" * 9)
    assert where in refused(root, code="dataset_missing")


@pytest.mark.parametrize("on_disk", [False, True])
def test_all_broken_files_are_named_and_may_be_skipped(
    on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = classes(*NAMES, below="train/", count=60) | classes(*NAMES, below="test/", count=20)
    broken = {"train/cat/7.png": plain()[:40], "train/dog/8.png": b"", "test/cat/9.png": b"?"}
    write(tmp_path / "set", files | broken)
    if on_disk:
        monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    names = "test/cat/9.png, train/cat/7.png, train/dog/8.png"
    message = refused(tmp_path)
    assert message.startswith(f"3 of 160 images cannot be read: {names}; ")
    assert '"broken_files": "skip"' in message
    data = read(tmp_path, broken_files="skip")
    assert left_out(data) == {"images that cannot be read": (3, tuple(sorted(broken)))}
    assert data.train.labels.tolist() == [0] * 59 + [1] * 59
    assert data.test.labels.tolist() == [0] * 19 + [1] * 20
    names_of_cats = sorted(name for name in files if name.startswith("train/cat") and name not in broken)
    shades = [4 * int(Path(name).stem) for name in names_of_cats]
    assert pixels(data.train)[:59, 0, 0, 0].tolist() == shades
    assert pixels(data.test).shape == (39, 4, 6, 1)
    write(tmp_path / "set", {f"test/dog/{i}.png": b"" for i in range(20)})
    assert "the class dog has no images for testing that can be read" in refused(tmp_path, broken_files="skip")
