"""What a file for deployment is asked to be, and what it says about itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.export.deployment import USUAL, FileOptions, Trained, applying, file_options, metadata
from nnmass_core.families import decode_architecture
from tests.networks import MLP

CNN = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 8, "width": 8},
    "num_classes": 2,
    "cells": [{"width": 4, "depth": 4, "skip_channels": 5}],
}
TRAINED = Trained(
    mean=(0.5, 0.25, 0.0),
    std=(0.25, 0.5, 1.0),
    image=(3, 8, 8),
    pixels=True,
    classes=("dog", "cat"),
    accuracy=0.75,
    test_inputs=4,
    dataset={"name": "imagefolder", "path": "pets.zip", "background": "black"},
    data_digest="sha256:00",
    weights_file=None,
)


def test_options_have_usual_values() -> None:
    assert file_options("onnx") == USUAL == FileOptions(None, 18, fold_batchnorm=True)
    assert file_options("onnx", batch="dynamic", opset=18, fold_batchnorm=True) == USUAL
    assert file_options("metadata", batch="16", opset=13, fold_batchnorm=False) == FileOptions(
        16, 13, fold_batchnorm=False
    )
    assert file_options("onnx", batch=3).batch == 3
    assert file_options("json") == USUAL


@pytest.mark.parametrize("batch", [0, -1, 1025, "", "0", "1.5", " 1", "\u0661", "1" * 400, True])
def test_a_batch_is_dynamic_or_a_number(batch: int | str) -> None:
    with pytest.raises(DefinitionError) as caught:
        file_options("onnx", batch=batch)
    assert [(one.field, one.code) for one in caught.value.problems] == [("batch", "bad_batch")]


def test_all_wrong_options_are_named_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        file_options("torchscript", batch=0, opset=99)
    assert [one.field for one in caught.value.problems] == ["batch", "opset", "batch", "opset"]


def test_options_that_do_not_apply_are_null() -> None:
    options = FileOptions(2, 13, fold_batchnorm=False)
    assert applying("onnx", options) == {"batch": 2, "opset": 13, "fold_batchnorm": False}
    assert applying("torchscript", options) == {"batch": None, "opset": None, "fold_batchnorm": False}
    assert applying("pytorch", options) == {"batch": None, "opset": None, "fold_batchnorm": None}


def test_a_training_says_how_its_inputs_are_made() -> None:
    about = metadata(decode_architecture(CNN), 3, "00", USUAL, TRAINED)
    assert (about["mean"], about["std"]) == ([0.5, 0.25, 0.0], [0.25, 0.5, 1.0])
    assert about["input_range"] == [[-2.0, 2.0], [-0.5, 1.5], [0.0, 1.0]]
    assert about["input_channels"] == ["red", "green", "blue"]
    assert about["input_values"] == "(pixel / 255 - mean) / std, for each channel"
    assert (about["input_shape"], about["input_layout"]) == (["dynamic", 3, 8, 8], "NCHW")
    assert about["classes"] == ["dog", "cat"], "in their order"
    assert about["dataset"] == {"name": "imagefolder", "background": "black"}, "no path"
    fixed = metadata(decode_architecture(CNN), 3, "00", FileOptions(4, 13, fold_batchnorm=False), TRAINED)
    changed = {name for name in about if about[name] != fixed[name]}
    assert changed == {"batch", "opset", "batchnorm", "input_shape"}


def test_a_network_of_features_says_which_image_is_flattened() -> None:
    gray = replace(TRAINED, image=(1, 8, 8), mean=(0.5,), std=(0.25,))
    about = metadata(decode_architecture(MLP), 0, "00", USUAL, gray)
    assert (about["input_shape"], about["input_layout"]) == (["dynamic", 64], "N, features")
    assert (about["input_image"], about["input_channels"]) == ([1, 8, 8], ["gray"])
    assert str(about["input_values"]).endswith("flattened in the order of input_image")


def test_points_are_given_as_they_are() -> None:
    points = replace(TRAINED, image=None, pixels=False, mean=(0.0, 0.0), std=(1.0, 1.0))
    network = decode_architecture(MLP | {"in_features": 2, "num_classes": 2})
    about = metadata(network, 0, "00", USUAL, points)
    assert (about["input_values"], about["input_range"], about["input_image"]) == (
        "the values of the dataset",
        None,
        None,
    )


def test_every_file_has_the_same_fields() -> None:
    network = decode_architecture(CNN)
    untrained = metadata(network, 0, "00", USUAL)
    assert untrained.keys() == metadata(network, 0, "00", USUAL, TRAINED).keys()
    assert untrained["status"] == "untrained: initial weights"
    assert {untrained[name] for name in ("accuracy", "dataset", "weights_file", "input_range")} == {None}
