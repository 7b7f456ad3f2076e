"""Write a built module to an ONNX or TorchScript file. `pytorch_source` writes PyTorch source without torch.

The files say what they are, and have no trace of the machine that wrote them: no paths, no lines of source.
"""

from __future__ import annotations

import copy
import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import fusion

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.errors import NotPossible
from nnmass_core.export.deployment import USUAL, FileOptions, Trained, metadata, metadata_file, output_name, rewritten
from nnmass_core.families import decode_architecture
from nnmass_core.nets import build

TRACED_BATCH = 2
"""The batch of an example that stands for any batch: one input may be a case of its own."""

DEBUG = ".debug_pkl"
"""The end of the names of TorchScript's records with paths and lines of source, which only error messages use."""

WRITTEN_LAST = {"version", "byteorder", ".data/serialization_id"}
"""The records of TorchScript that its writer adds by itself."""

ABOUT = "extra/metadata.json"
"""The record of TorchScript with what the file says about itself: the extra file `metadata.json` of torch.jit.load."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FOLDERS: dict[type[nn.Module], Any] = {
    nn.Conv1d: fusion.fuse_conv_bn_eval,
    nn.Conv2d: fusion.fuse_conv_bn_eval,
    nn.Conv3d: fusion.fuse_conv_bn_eval,
    nn.Linear: fusion.fuse_linear_bn_eval,
}
"""What makes a layer and the BatchNorm that follows one layer."""

KEPT = "nnmass.kept"
"""The domain of operators that the exporter's optimizer must leave as they are."""


def write(architecture: Architecture, seed: int, form: str, path: Path, options: FileOptions = USUAL) -> None:
    """Build the untrained network from a seed and write it in evaluation mode.

    form: `onnx`, `torchscript`, or `metadata`, what the ONNX file says about itself. Raises DefinitionError for a bad
    seed.
    """
    module = build(architecture, seed)
    about = about_module(architecture, seed, module, options)
    if form == "metadata":
        path.write_bytes(metadata_file(about))
    else:
        write_module(module, architecture.input_shape, form, path, about, options)


def rewrite(about: JsonObject, weights: Path, path: Path, options: FileOptions) -> None:
    """Write the ONNX file of stored weights with other options.

    about: what their file says about itself, as `about_module` returns it. weights: a file of `state_dict`. Raises
    NotPossible where the weights are others than those that it describes, or an option cannot be had.
    """
    architecture = decode_architecture(about["definition"])
    seed = about["seed"]
    assert isinstance(seed, int)
    module = build(architecture, seed)
    module.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    if weights_digest(module) != about["weights_sha256"]:
        raise NotPossible("weights_differ", "the weights are not those that the metadata describe")
    write_module(module, architecture.input_shape, "onnx", path, rewritten(about, options), options)


def write_module(
    module: nn.Module,
    shape: tuple[int, ...],
    form: str,
    path: Path,
    about: JsonObject,
    options: FileOptions = USUAL,
) -> None:
    """Write a module on the CPU in evaluation mode, for inputs of a shape.

    about: what the file says about itself. Raises NotPossible where an option cannot be had for this module.
    """
    module = module.eval()
    if options.fold_batchnorm:
        module = _folded(module)
    WRITERS[form](module, shape, path, about, options)


def about_module(
    architecture: Architecture, seed: int, module: nn.Module, options: FileOptions, trained: Trained | None = None
) -> JsonObject:
    """Return what a file of a module says about itself."""
    return metadata(architecture, seed, weights_digest(module), options, trained)


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256, in hex, of a module's state: of all names in order, each with its type, shape and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _folded(module: nn.Module) -> nn.Module:
    """Return a module in which each BatchNorm that alone reads a layer's result is a part of that layer.

    Raises NotPossible where torch.fx cannot trace the module, which may be of an installed family.
    """
    try:
        traced = fx.symbolic_trace(module)
    except (fx.proxy.TraceError, TypeError) as error:
        message = f"the module cannot be traced to fold BatchNorm ({error}); keep it by fold_batchnorm=false"
        raise NotPossible("batchnorm_not_folded", message) from error
    layers = dict(traced.named_modules())
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or not isinstance(layers[node.target], NORMS):
            continue
        before = node.args[0]
        if before.op != "call_module" or type(layers[before.target]) not in FOLDERS or len(before.users) > 1:
            continue
        if called.count(before.target) == 1:
            place, _, name = str(before.target).rpartition(".")
            # in twice the precision, so that the file differs by its last rounding only
            layer, norm = (copy.deepcopy(layers[one.target]).double() for one in (before, node))
            layers[before.target] = FOLDERS[type(layer)](layer, norm).float()  # another BatchNorm may follow
            setattr(traced.get_submodule(place), name, layers[before.target])
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _onnx(module: nn.Module, shape: tuple[int, ...], path: Path, about: JsonObject, options: FileOptions) -> None:
    from nnmass_core.export.onnx_files import finished

    # never read: tracing computes with shapes only
    example = torch.empty(TRACED_BATCH if options.batch is None else options.batch, *shape)
    dynamic = ({0: torch.export.Dim("batch")},) if options.batch is None else None
    program = torch.export.export(module, (example,), dynamic_shapes=dynamic)
    _average_by_means(program.graph_module.graph)
    exported: Any = torch.onnx.export(
        program,
        input_names=["input"],
        output_names=[output_name(about)],
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    norms = [] if options.fold_batchnorm else [n for n in exported.model.graph if n.op_type == "BatchNormalization"]
    for node in norms:  # the optimizer folds some
        node.domain = KEPT
    exported.optimize()
    for node in norms:
        node.domain = ""
    path.write_bytes(finished(exported.model_proto, about, options.opset).SerializeToString())


def _average_by_means(graph: fx.Graph) -> None:
    """Write average pooling to 1x1 as a mean, in place.

    For maps of 1x1 and for batches of one, torch's own translation reads the pooled values by computed addresses, in
    up to ten operators.
    """
    aten: Any = torch.ops.aten
    for node in graph.nodes:
        if node.target is aten.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:
            node.target, node.args = aten.mean.dim, (node.args[0], [2, 3], True)


def _torchscript(module: nn.Module, shape: tuple[int, ...], path: Path, about: JsonObject, _: FileOptions) -> None:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # torch prefers torch.export; this format is requested by name, by users who load it from C++
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(module, torch.zeros(TRACED_BATCH, *shape)), file)
    file.seek(0)
    native = torch._C  # noqa: SLF001 - its writer alone aligns tensors as loaders want them, and `zipfile` cannot
    reader, writer = native.PyTorchFileReader(file), native.PyTorchFileWriter(str(path))
    records = {name: reader.get_record(name) for name in reader.get_all_records() if not name.endswith(DEBUG)}
    records[ABOUT] = metadata_file({name: value for name, value in about.items() if name != "opset"})
    for name, content in records.items():
        if name not in WRITTEN_LAST:
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


WRITERS = {"onnx": _onnx, "torchscript": _torchscript}
