"""What a file for deployment is asked to be, and what it says about itself: in ONNX's metadata, and as JSON beside it.

Needs no torch: the service checks requests with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod

from nnmass_core import __version__
from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import decode_architecture

DYNAMIC = "dynamic"
"""The batch of a file that takes any number of inputs at once."""

LARGEST_BATCH = 1024

OPSETS = range(13, 23)
"""The versions of ONNX's operators that files can have."""

USUAL_OPSET = 18

FILES_VERSION = 3
"""The version of what is written. Raise it with every change of the content: stored files are then written anew."""

APPLYING: dict[str, tuple[str, ...]] = {
    "onnx": ("batch", "opset", "fold_batchnorm"),
    "metadata": ("batch", "opset", "fold_batchnorm"),
    "torchscript": ("fold_batchnorm",),
}
"""The options that the formats of files have; others have none."""

CHANNELS = {1: ["gray"], 3: ["red", "green", "blue"]}
"""The channels of the images that trainings read, in order."""


@dataclass(frozen=True)
class FileOptions:
    """How a file is written.

    Args:
        batch: The number of inputs that it takes at once; None for any number.
        opset: The version of ONNX's operators.
        fold_batchnorm: Whether each BatchNorm that follows a convolution or a linear layer becomes a part of it.
    """

    batch: int | None = None
    opset: int = USUAL_OPSET
    fold_batchnorm: bool = True


USUAL = FileOptions()


def file_options(
    form: str, *, batch: int | str | None = None, opset: int | None = None, fold_batchnorm: bool | None = None
) -> FileOptions:
    """Return the options of a file, checked.

    Args:
        form: The format of the file.
        batch: A number of inputs, or `dynamic`; None stands for the usual value, as in the others.
        opset: The version of ONNX's operators.
        fold_batchnorm: Whether BatchNorm is folded.

    Raises:
        DefinitionError: An option does not apply to the format, or its value cannot be had.
    """
    given = {"batch": batch, "opset": opset, "fold_batchnorm": fold_batchnorm}
    applying = APPLYING.get(form, ())
    problems = [
        Problem(name, "conflicts_with_format", f"does not apply to {form}")
        for name, value in given.items()
        if value is not None and name not in applying
    ]
    number = _batch(batch)
    if number is not None and not 1 <= number <= LARGEST_BATCH:
        message = f"must be {DYNAMIC} or a number from 1 to {LARGEST_BATCH}"
        problems.append(Problem("batch", "bad_batch", message))
    if opset is not None and opset not in OPSETS:
        message = f"must be from {OPSETS[0]} to {OPSETS[-1]}: files of others cannot be written"
        problems.append(Problem("opset", "bad_opset", message))
    if problems:
        raise DefinitionError(problems)
    return FileOptions(number, USUAL_OPSET if opset is None else opset, fold_batchnorm is not False)


def _batch(batch: int | str | None) -> int | None:
    """Return a batch as a number, 0 where it is neither that nor `dynamic`; None for any number."""
    if batch is None or batch == DYNAMIC:
        return None
    if isinstance(batch, int):
        return 0 if isinstance(batch, bool) else batch
    return int(batch) if batch.isascii() and batch.isdigit() and len(batch) < 10 else 0


@dataclass(frozen=True)
class Trained:
    """What a training knows of one seed.

    Args:
        mean: What is subtracted from the values of each channel, pixels in [0, 1].
        std: What they are then divided by.
        image: (channels, height, width) of the images, also where the network takes them flattened; None for points.
        pixels: Whether the inputs are pixels, which are standardized.
        classes: The names of the classes, in the order of the scores.
        accuracy: The share of the test inputs that the network classifies correctly.
        test_inputs: The number of test inputs.
        validation_accuracy: The share of the inputs held out for validation that it classifies correctly; None where
            the recipe holds out none.
        validation_inputs: The number of those inputs, or None.
        dataset: The dataset in public JSON.
        data_digest: The digest of the inputs and labels.
        weights_file: `name` and `sha256` of the file of these weights, None where it is not stored.
    """

    mean: Sequence[float]
    std: Sequence[float]
    image: tuple[int, int, int] | None
    pixels: bool
    classes: Sequence[str]
    accuracy: float
    test_inputs: int
    dataset: JsonObject
    data_digest: str
    weights_file: Mapping[str, str] | None
    validation_accuracy: float | None = None
    validation_inputs: int | None = None


def metadata(
    architecture: Architecture, seed: int, weights_sha256: str, options: FileOptions, trained: Trained | None = None
) -> JsonObject:
    """Return what an ONNX file says about itself, in JSON; all fields exist always, and null means that there is none.

    Args:
        architecture: The network.
        seed: Drew its wiring and its initial weights.
        weights_sha256: The digest of the weights, as `weights_digest` of `torch_files` computes it.
        options: How the file is written.
        trained: What the training knows; None for a network with its initial weights.
    """
    shape = architecture.input_shape
    about: JsonObject = {
        "nnmass_version": __version__,
        "status": "untrained: initial weights" if trained is None else "trained",
        "arch_id": architecture.arch_id,
        "definition": architecture.definition(),
        "seed": seed,
        "weights_sha256": weights_sha256,
        "weights_file": None,
        "precision": "fp32",
        **_written(options, shape),
        "input_layout": "NCHW" if len(shape) == 3 else "N, features",
        "output": _output(architecture),
    }
    return about | (_untrained() if trained is None else _of_training(trained, shape))


def _output(architecture: Architecture) -> str:
    if architecture.classifies:
        return f"{architecture.num_classes} scores before softmax, one for each class"
    return f"{architecture.num_classes} numbers, a reconstruction of the input"


def output_name(about: JsonObject) -> str:
    """Return the name of what a network gives in an ONNX file: `scores`, or `reconstruction` of an autoencoder.

    Args:
        about: What the file says about itself; empty for a module of no definition.
    """
    classifies = not about or decode_architecture(about["definition"]).classifies
    return "scores" if classifies else "reconstruction"


def rewritten(about: JsonObject, options: FileOptions) -> JsonObject:
    """Return what a file of the same weights with other options says about itself.

    Args:
        about: What a file of these weights says, as `metadata` returns it.
        options: How the new file is written.
    """
    architecture = decode_architecture(about["definition"])
    added = {"validation_accuracy": None, "validation_inputs": None}  # files of earlier releases lack these fields
    return {**added, **about, "nnmass_version": __version__, **_written(options, architecture.input_shape)}


def _written(options: FileOptions, shape: tuple[int, ...]) -> JsonObject:
    batch = DYNAMIC if options.batch is None else options.batch
    return {
        "batch": batch,
        "opset": options.opset,
        "batchnorm": "folded" if options.fold_batchnorm else "kept",
        "input_shape": [batch, *shape],
    }


def _untrained() -> JsonObject:
    nothing = ("input_image", "input_channels", "input_range", "mean", "std", "classes")
    of_test = ("accuracy", "test_inputs", "validation_accuracy", "validation_inputs", "dataset", "data_digest")
    return {"input_values": "none: the network is not trained"} | dict.fromkeys((*nothing, *of_test))


def _of_training(trained: Trained, shape: tuple[int, ...]) -> JsonObject:
    image = trained.image
    mean, std = list(trained.mean), list(trained.std)
    values = "(pixel / 255 - mean) / std, for each channel" if trained.pixels else "the values of the dataset"
    flattened = image is not None and len(shape) == 1 and prod(image) == shape[0]
    return {
        "weights_file": None if trained.weights_file is None else dict(trained.weights_file),
        "input_values": f"{values}, flattened in the order of input_image" if flattened else values,
        "input_image": None if image is None else list(image),
        "input_channels": None if image is None else CHANNELS.get(image[0]),
        "input_range": [[-m / s, (1 - m) / s] for m, s in zip(mean, std, strict=True)] if trained.pixels else None,
        "mean": mean,
        "std": std,
        "classes": list(trained.classes),
        "accuracy": trained.accuracy,
        "test_inputs": trained.test_inputs,
        "validation_accuracy": trained.validation_accuracy,
        "validation_inputs": trained.validation_inputs,
        "dataset": {name: value for name, value in trained.dataset.items() if name != "path"},
        "data_digest": trained.data_digest,
    }


def metadata_file(about: JsonObject) -> bytes:
    """Return what an ONNX file says about itself, as a file beside it."""
    return (json.dumps(about, indent=2) + "\n").encode()


def read_metadata(content: bytes) -> JsonObject:
    """Return what a file that `metadata_file` wrote says."""
    about: JsonObject = json.loads(content)
    return about


def applying(form: str, options: FileOptions) -> JsonObject:
    """Return all options, with null for those that do not apply to a format."""
    return {name: value if name in APPLYING.get(form, ()) else None for name, value in asdict(options).items()}
