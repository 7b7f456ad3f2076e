"""Data sets by name: the fields of each, and which networks can be trained on it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nnmass_core.codec import json_schema
from nnmass_core.errors import DefinitionError
from nnmass_core.named.datasets import (
    APPLYING,
    Dataset,
    datasets,
    image_of,
    image_shape,
    problems_of,
    resolve_dataset,
)
from tests.parsed import parsed

FOLDER = Dataset(name="imagefolder", path="birds.zip")


def refusals(data: object) -> list[tuple[str, str]]:
    with pytest.raises(DefinitionError) as refused:
        resolve_dataset(data)
    return [(problem.field, problem.code) for problem in refused.value.problems]


def codes(dataset: Dataset | str, shape: tuple[int, ...], num_classes: int) -> list[str]:
    found = list(problems_of(resolve_dataset(dataset) if isinstance(dataset, str) else dataset, shape, num_classes))
    assert {problem.field for problem in found} <= {"dataset"}
    return [problem.code for problem in found]


@pytest.mark.parametrize("name", [name for name in APPLYING if name != "imagefolder"])
def test_a_name_is_a_complete_data_set(name: str) -> None:
    assert resolve_dataset(name) == resolve_dataset({"name": name}) == Dataset(name=name)


@pytest.mark.parametrize(
    ("data", "form", "key"),
    [
        ("mnist-5k", {"name": "mnist-5k"}, "mnist-5k"),
        ("fake", {"name": "fake", "seed": 0}, "fake:seed=0"),
        (
            {"name": "imagefolder", "path": "a b/c.zip"},
            {
                "name": "imagefolder",
                "path": "a b/c.zip",
                "background": "white",
                "broken_files": "refuse",
                "bit_depth": 0,
            },
            "imagefolder:a b/c.zip",
        ),
        (
            {"name": "imagefolder", "path": "a", "background": "black", "broken_files": "skip", "bit_depth": 16.0},
            {"name": "imagefolder", "path": "a", "background": "black", "broken_files": "skip", "bit_depth": 16},
            "imagefolder:a//background=black,broken_files=skip,bit_depth=16",
        ),
        (
            {"name": "synthetic-linear", "seed": 7.0},
            {"name": "synthetic-linear", "segments": 20, "seed": 7},
            "synthetic-linear:segments=20,seed=7",
        ),
    ],
)
def test_json_and_key_of_a_data_set_have_only_the_fields_that_apply(
    data: object, form: dict[str, Any], key: str
) -> None:
    dataset = resolve_dataset(data)
    assert (dataset.to_json(), dataset.key) == (form, key)
    assert resolve_dataset(json.loads(json.dumps(dataset.to_json()))) == dataset


def test_equal_data_sets_have_equal_forms_whether_or_not_defaults_are_written_out() -> None:
    written_out = resolve_dataset({"name": "mnist", "path": "", "segments": 20, "seed": 0})
    assert written_out == resolve_dataset("mnist")
    assert written_out.to_json() == {"name": "mnist"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("imagenet", [("", "unknown_dataset")]),
        ("imagefolder", [("path", "required")]),
        (None, [("", "not_an_object")]),
        (["mnist"], [("", "not_an_object")]),
        ({}, [("name", "required")]),
        ({"name": "imagenet"}, [("name", "unknown_choice")]),
        ({"name": ["mnist"]}, [("name", "unknown_choice")]),
        ({"name": "mnist", "split": 1}, [("split", "unknown_field")]),
        ({"name": "imagefolder"}, [("path", "required")]),
        ({"name": "imagefolder", "path": "a", "seed": 1}, [("seed", "conflicts_with_dataset")]),
        ({"name": "fake", "segments": 4}, [("segments", "conflicts_with_dataset")]),
        ({"name": "fake", "background": "black"}, [("background", "conflicts_with_dataset")]),
        ({"name": "mnist", "broken_files": "skip"}, [("broken_files", "conflicts_with_dataset")]),
        ({"name": "imagefolder", "path": "a", "background": "pink"}, [("background", "unknown_choice")]),
        ({"name": "imagefolder", "path": "a", "bit_depth": 7}, [("bit_depth", "too_small")]),
        ({"name": "imagefolder", "path": "a", "bit_depth": 33}, [("bit_depth", "too_large")]),
        ({"name": "imagefolder", "path": "a", "bit_depth": "16"}, [("bit_depth", "not_an_integer")]),
        ({"name": "digits", "bit_depth": 16}, [("bit_depth", "conflicts_with_dataset")]),
        (
            {"name": "mnist", "path": "a", "segments": 4, "seed": 1},
            [(field, "conflicts_with_dataset") for field in ("path", "segments", "seed")],
        ),
        ({"name": "synthetic-circle", "segments": 1}, [("segments", "too_small")]),
        ({"name": "synthetic-circle", "segments": 121}, [("segments", "too_large")]),
        ({"name": "synthetic-circle", "seed": 2**32}, [("seed", "too_large")]),
        ({"name": "synthetic-circle", "seed": True}, [("seed", "not_an_integer")]),
    ],
)
def test_an_invalid_data_set_names_its_field(data: object, expected: list[tuple[str, str]]) -> None:
    assert refusals(data) == expected


@pytest.mark.parametrize(
    "path",
    ["/etc", "..", "../a", "a/../b", "a/..", "./a", ".", "a//b", "a/", "a\\b", "a\0b", "a\nb", "a\n", "\ud800", 5],
)
def test_a_path_outside_the_data_root_is_refused(path: object) -> None:
    ((field, code),) = refusals({"name": "imagefolder", "path": path})
    assert (field, code) == ("path", "not_a_string" if path == 5 else "bad_text")


def test_a_path_has_a_maximum_length_and_may_contain_dots() -> None:
    assert refusals({"name": "imagefolder", "path": "a" * 401}) == [("path", "too_long")]
    for path in ("a" * 400, "..a/b..c/d...", ".hidden", "größe/鳥.zip"):
        assert Dataset(name="imagefolder", path=path).path == path


def test_the_catalog_lists_every_name_and_is_json() -> None:
    assert list(datasets()) == list(APPLYING) == parsed(json_schema(Dataset))["properties"]["name"]["enum"]
    for name, about in datasets().items():
        form = json.loads(json.dumps(about.to_json()))
        assert (form["name"], form["fields"]) == (name, list(APPLYING[name]))
        assert about.description.endswith(".")
    assert datasets()["cifar100"].to_json()["shape"] == [3, 32, 32]
    assert datasets()["imagefolder"].to_json()["num_classes"] is None


@pytest.mark.parametrize(
    ("features", "image"),
    [
        (1, (1, 1, 1)),
        (3, (3, 1, 1)),
        (784, (1, 28, 28)),
        (3072, (3, 32, 32)),
        (64, (1, 8, 8)),
        (2, None),
        (785, None),
        (0, None),
    ],
)
def test_a_flat_input_maps_to_a_square_image(features: int, image: tuple[int, int, int] | None) -> None:
    assert image_of(features) == image


def test_no_flat_input_is_both_a_gray_and_a_color_image() -> None:
    for side in range(1, 300):
        assert image_of(side * side) == (1, side, side)
        assert image_of(3 * side * side) == (3, side, side)


def test_image_shape_accepts_gray_and_color_images_and_flat_inputs() -> None:
    assert image_shape((3, 20, 30)) == (3, 20, 30)
    assert image_shape((2, 20, 30)) is None
    assert image_shape((12,)) == (3, 2, 2)
    assert image_shape((13,)) is None


@pytest.mark.parametrize("name", [name for name, about in datasets().items() if about.shape is not None])
def test_a_network_must_match_the_inputs_and_classes_of_the_data_set(name: str) -> None:
    about = datasets()[name]
    shape, num_classes = about.shape, about.num_classes
    assert shape is not None
    assert num_classes is not None
    features = shape[0] if len(shape) == 1 else shape[0] * shape[1] * shape[2]
    assert codes(name, shape, num_classes) == codes(name, (features,), num_classes) == []
    assert codes(name, shape, num_classes + 1) == ["classes_mismatch"]
    assert codes(name, (features + 1,), num_classes) == ["shape_mismatch"]
    assert codes(name, (5, 5, 5), num_classes + 1) == ["shape_mismatch", "classes_mismatch"]


def test_an_input_of_equal_size_and_another_shape_does_not_fit() -> None:
    assert codes("cifar10", (3, 64, 16), 10) == ["shape_mismatch"]
    assert codes("mnist", (28, 28, 1), 10) == ["shape_mismatch"]
    assert codes("synthetic-circle", (1, 1, 2), 2) == ["shape_mismatch"]


@pytest.mark.parametrize(
    ("shape", "num_classes", "expected"),
    [
        ((3, 32, 32), 7, []),
        ((1, 5, 9), 2, []),
        ((3072,), 2, []),
        ((784,), 2, []),
        ((785,), 2, ["shape_mismatch"]),
        ((4, 32, 32), 2, ["shape_mismatch"]),
        ((3, 32, 32), 1, ["classes_mismatch"]),
    ],
)
def test_an_image_folder_accepts_gray_and_color_inputs(
    shape: tuple[int, ...], num_classes: int, expected: list[str]
) -> None:
    assert codes(FOLDER, shape, num_classes) == expected


def test_fake_data_fit_every_network() -> None:
    assert codes("fake", (7, 3, 5), 1) == codes("fake", (13,), 1000) == []


def test_a_mismatch_message_names_both_shapes_and_class_counts() -> None:
    shape, classes = problems_of(Dataset(name="cifar10"), (784,), 100)
    assert shape.message == "cifar10 has inputs of 3 x 32 x 32, the network takes 784"
    assert classes.message == "cifar10 has 10 classes, the network 100"
