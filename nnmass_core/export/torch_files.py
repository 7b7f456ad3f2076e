"""Write a built module to an ONNX or TorchScript file. `pytorch_source` writes PyTorch source without torch.

The files have no trace of the machine that wrote them: no paths, no lines of source.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from nnmass_core.architecture import Architecture
from nnmass_core.nets import build

OPSET = 18
BATCH = "batch"

DEBUG = ".debug_pkl"
"""The end of the names of TorchScript's records with paths and lines of source, which only error messages use."""


def write(architecture: Architecture, seed: int, form: str, path: Path) -> None:
    """Build the network from a seed and write it in evaluation mode, for batches of any size.

    form: `onnx` or `torchscript`. Raises DefinitionError for a bad seed.
    """
    write_module(build(architecture, seed), architecture.input_shape, form, path)


def write_module(module: nn.Module, shape: tuple[int, ...], form: str, path: Path) -> None:
    """Write a module on the CPU in evaluation mode, for inputs of a shape."""
    WRITERS[form](module.eval(), torch.zeros(2, *shape), path)


def _onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    from nnmass_core.export.onnx_files import cleaned

    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim(BATCH)},))
    _average_by_means(program.graph_module.graph)
    exported: Any = torch.onnx.export(
        program,
        input_names=["input"],
        output_names=["scores"],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    path.write_bytes(cleaned(exported.model_proto, "network").SerializeToString())


def _average_by_means(graph: fx.Graph) -> None:
    """Write average pooling to 1x1 as a mean, in place.

    For maps of 1x1 and for batches of one, torch's own translation reads the pooled values by computed addresses, in
    up to ten operators.
    """
    aten: Any = torch.ops.aten
    for node in graph.nodes:
        if node.target is aten.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:
            node.target, node.args = aten.mean.dim, (node.args[0], [2, 3], True)


def _torchscript(module: nn.Module, example: Tensor, path: Path) -> None:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # torch prefers torch.export; this format is requested by name, by users who load it from C++
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(module, example), file)
    file.seek(0)
    native = torch._C  # noqa: SLF001 - its writer alone aligns tensors as loaders want them, and `zipfile` cannot
    reader, writer = native.PyTorchFileReader(file), native.PyTorchFileWriter(str(path))
    for name in reader.get_all_records():
        if not name.endswith(DEBUG) and name not in WRITTEN_LAST:
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


WRITTEN_LAST = {"version", "byteorder", ".data/serialization_id"}
"""The records of TorchScript that its writer adds by itself."""

WRITERS = {"onnx": _onnx, "torchscript": _torchscript}
