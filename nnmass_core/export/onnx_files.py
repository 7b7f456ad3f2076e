"""ONNX files as they are given out: what a runtime reads, and nothing of the machine that wrote them.

The exporter of torch notes for each operator the lines of source that it comes from, with their paths, and the steps
of its own translation: in a small network more than half of the file. No runtime reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from nnmass_core import __version__
from nnmass_core.codec import JsonObject
from nnmass_core.errors import NotPossible

BATCH = "batch"
"""The name of the size of a batch of any size, the only size without a value."""

UNFIT = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, onnx.defs.SchemaError)
"""What ONNX raises where a version of the operators does not hold a model; its converter raises RuntimeError."""

AXES_ARE_INPUTS = 18
"""The version of ONNX's operators since which ReduceMean reads its axes as an input."""

# untyped: the messages of ONNX are protocol buffers, whose fields no type checker knows


def finished(model: Any, about: JsonObject, opset: int) -> Any:
    """Return a model as it is given out: an `onnx.ModelProto` of a version of the operators, with its metadata.

    Args:
        model: The model of the exporter, with its weights; it is changed.
        about: What the file says about itself.
        opset: The version of the operators.

    Raises:
        NotPossible: The model has an operator that this version does not have.
    """
    try:
        model = _cleaned(_converted(model, opset))
        onnx.checker.check_model(model, full_check=True)
    except (*UNFIT, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise NotPossible("bad_opset", f"opset {opset} cannot hold this network: {reason}") from error
    model.producer_name, model.producer_version = "nnmass", __version__
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    helper.set_model_props(model, texts(about))
    return model


def texts(about: JsonObject) -> dict[str, str]:
    """Return values as the texts of ONNX's metadata: texts as they are, others as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}


def _cleaned(model: Any) -> Any:
    """Return a model without traces of its making.

    Notes, source lines and paths go, and sizes that shape inference finds again. The numbers of gathered channels take
    4 bytes each in place of 8, as docs/theory.md (21) counts them.
    """
    graph = model.graph
    _shorten_channel_numbers(graph)
    del graph.value_info[:], graph.quantization_annotation[:], model.metadata_props[:]
    for part in chain([graph], graph.node, graph.initializer, graph.input, graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = BATCH
    graph.name = "network"
    model.ClearField("doc_string")
    return model


def _shorten_channel_numbers(graph: Any) -> None:
    """Store the channel numbers that only gathers read as int32."""
    gathers = {node.input[1] for node in graph.node if node.op_type == "Gather"}
    others = {
        name for node in graph.node for place, name in enumerate(node.input) if node.op_type != "Gather" or place != 1
    }
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT64 and tensor.name in gathers - others:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int32), tensor.name))


def _converted(model: Any, opset: int) -> Any:
    """Return a model in another version of the operators.

    The converter of ONNX goes up. It does not go down over `Split` and `ReduceMean`, whose forms differ little: here
    the axes of a mean become an attribute, and attributes that an older version does not have go where they say what
    that version does. HardSwish, GELU and LayerNormalization become the steps that they are short for.
    """
    (own,) = (one for one in model.opset_import if one.domain == "")
    if opset > own.version:
        return version_converter.convert_version(model, opset)
    if opset < own.version:
        for operator, since, steps_of in WRITTEN_OUT:
            if opset < since:
                _write_out(model.graph, operator, steps_of)
        known = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            _lower(node, own.version, opset, known)
        used = {name for node in model.graph.node for name in node.input}
        for name in known.keys() - used:
            model.graph.initializer.remove(known[name])
        own.version = opset
    return model


Nodes = list[Any]


def _write_out(graph: Any, operator: str, steps_of: Callable[[Any, Any], Nodes]) -> None:
    """Write steps in the place of each operator of a kind.

    Args:
        graph: The graph, which is changed.
        operator: The kind.
        steps_of: Returns the steps for a node; it may add constants to the graph.
    """
    nodes = [step for node in graph.node for step in (steps_of(graph, node) if node.op_type == operator else [node])]
    del graph.node[:]
    graph.node.extend(nodes)


def _constant(graph: Any, name: str, value: float) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return name


def _step(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, [output], output, **attributes)


def _hard_swish(graph: Any, node: Any) -> Nodes:
    """Return x HardSigmoid(x)."""
    ((x,), (y,)) = node.input, node.output
    gate = f"{y}_gate"
    return [_step("HardSigmoid", [x], gate, alpha=1 / 6, beta=0.5), _step("Mul", [x, gate], y)]


def _gelu(graph: Any, node: Any) -> Nodes:
    """Return x (1 + erf(x / sqrt(2))) / 2."""
    ((x,), (y,)) = node.input, node.output
    shrunk, erf, more, gate = (f"{y}_{part}" for part in ("shrunk", "erf", "more", "gate"))
    return [
        _step("Mul", [x, _constant(graph, f"{y}_root", 0.5**0.5)], shrunk),
        _step("Erf", [shrunk], erf),
        _step("Add", [erf, _constant(graph, f"{y}_one", 1.0)], more),
        _step("Mul", [more, _constant(graph, f"{y}_half", 0.5)], gate),
        _step("Mul", [x, gate], y),
    ]


def _layer_norm(graph: Any, node: Any) -> Nodes:
    """Return the difference to the mean of the last axis, divided by a root, and scaled."""
    (x, scale, bias), y = node.input, node.output[0]
    names = [f"{y}_{part}" for part in ("mean", "centered", "square", "variance", "sum", "root", "unit", "scaled")]
    mean, centered, square, variance, total, root, unit, scaled = names
    epsilon = next(one.f for one in node.attribute if one.name == "epsilon")
    last = {"axes": [-1], "keepdims": 1}
    return [
        _step("ReduceMean", [x], mean, **last),
        _step("Sub", [x, mean], centered),
        _step("Mul", [centered, centered], square),
        _step("ReduceMean", [square], variance, **last),
        _step("Add", [variance, _constant(graph, f"{y}_epsilon", epsilon)], total),
        _step("Sqrt", [total], root),
        _step("Div", [centered, root], unit),
        _step("Mul", [unit, scale], scaled),
        _step("Add", [scaled, bias], y),
    ]


WRITTEN_OUT: tuple[tuple[str, int, Callable[[Any, Any], Nodes]], ...] = (
    ("HardSwish", 14, _hard_swish),
    ("LayerNormalization", 17, _layer_norm),
    ("Gelu", 20, _gelu),
)
"""Operators that older versions lack: since which version there is one, and what is written for it before."""


def _lower(node: Any, version: int, opset: int, known: Mapping[str, Any]) -> None:
    if node.op_type == "ReduceMean" and opset < AXES_ARE_INPUTS and len(node.input) == 2 and node.input[1] in known:
        axes = numpy_helper.to_array(known[node.input.pop()]).tolist()
        node.attribute.append(helper.make_attribute("axes", axes))
    if node.op_type == "Reshape" and node.input[1] in known and numpy_helper.to_array(known[node.input[1]]).all():
        # the attribute is only about sizes of 0
        kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)
    newer, older = (onnx.defs.get_schema(node.op_type, one, node.domain) for one in (version, opset))
    for attribute in list(node.attribute):
        if attribute.name in newer.attributes and attribute.name not in older.attributes:
            usual = newer.attributes[attribute.name].default_value
            if helper.get_attribute_value(attribute) == helper.get_attribute_value(usual):
                node.attribute.remove(attribute)
