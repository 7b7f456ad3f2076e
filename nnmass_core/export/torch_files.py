"""Write a built module to an ONNX or TorchScript file. `pytorch_source` writes PyTorch source without torch."""

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
    """Build the network from a seed and write it in evaluation mode, for batches of any size.

    form: `onnx` or `torchscript`. Raises DefinitionError for a bad seed.
    """
    write_module(build(architecture, seed), architecture.input_shape, form, path)


def write_module(module: nn.Module, shape: tuple[int, ...], form: str, path: Path) -> None:
    """Write a module on the CPU in evaluation mode, for inputs of a shape."""
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
        # torch prefers torch.export; this format is requested by name, by users who load it from C++
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(module, example), path)


WRITERS = {"onnx": _onnx, "torchscript": _torchscript}
