"""A built module as a file: ONNX or TorchScript. PyTorch source is written without torch, in `source`."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from nnmass_core.architecture import Architecture
from nnmass_core.nets import build

OPSET = 18
BATCH = "batch"


def write(architecture: Architecture, seed: int, form: str, path: Path) -> None:
    """Build the network from a seed and write it, as it is in evaluation, for batches of any size.

    form: `onnx` or `torchscript`. Raises DefinitionError for a bad seed.
    """
    write_module(build(architecture, seed), architecture.input_shape, form, path)


def write_module(module: nn.Module, shape: tuple[int, ...], form: str, path: Path) -> None:
    """Write a module that lies on the CPU, for inputs of a shape, as it is in evaluation."""
    WRITERS[form](module.eval(), torch.zeros(2, *shape), path)


def _onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    torch.onnx.export(
        module,
        (example,),
        path,
        input_names=["input"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim(BATCH)},),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _torchscript(module: nn.Module, example: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        # torch would rather see torch.export; the format is asked for by name, by those who load it from C++
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(module, example), path)


WRITERS = {"onnx": _onnx, "torchscript": _torchscript}
