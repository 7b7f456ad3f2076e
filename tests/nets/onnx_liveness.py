"""Peak of live activations over the graph of an ONNX file, by the words of docs/theory.md (22): no product code.

Steps run in the order of the file. A convolution, a linear layer, a pooling and a concatenation with its gathers (one
step) each write a new tensor. Elementwise operators and reshapes work in place where nobody reads their input later.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import onnx

WRITING = {"Conv", "Gemm", "MatMul", "AveragePool", "GlobalAveragePool", "MaxPool", "ReduceMean", "Concat"}
GATES = {"Sigmoid", "HardSigmoid", "Erf"}
IN_PLACE = {
    "BatchNormalization",
    "LayerNormalization",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Sqrt",
    "Flatten",
    "Reshape",
} | GATES
IN_PLACE |= {"Relu", "Clip", "Elu", "Gelu", "HardSwish"}
GATHERING = {"Gather", "Split", "Identity", "Transpose"}
"""Operators whose results are read as their input, or as parts of it."""


def sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Return the elements of each tensor of the graph for one input; the batch is the only size without a value."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    return {one.name: math.prod(d.dim_value or 1 for d in one.type.tensor_type.shape.dim) for one in known}


def activation_steps(graph: onnx.GraphProto) -> Iterator[tuple[str, list[str], str]]:
    """Yield the operator, the activations that it reads, and its results, one at a time; sizes are no activations."""
    activations = {graph.input[0].name}
    gates = set[str]().union(*gates_of_activations(graph))
    for node in graph.node:
        # x times sigmoid(x) is one activation of x
        read = [name for name in node.input if name in activations and name not in gates]
        if read and node.op_type != "Shape" and not gates & {*node.output}:
            activations.update(node.output)
            for result in node.output:
                yield node.op_type, read, result


def gates_of_activations(graph: onnx.GraphProto) -> Iterator[set[str]]:
    """Yield the values between a tensor and its product with a function of it: those of x sigmoid(x), or of GELU."""
    constants = {tensor.name for tensor in graph.initializer}
    reads = {node.output[0]: [name for name in node.input if name not in constants] for node in graph.node}
    elementwise = {node.output[0] for node in graph.node if node.op_type in GATES | {"Mul", "Add"}}
    for node in graph.node:
        for x, gate in itertools.permutations(reads[node.output[0]], 2) if node.op_type == "Mul" else ():
            between = [gate]
            while between[-1] in elementwise and len(reads[between[-1]]) == 1:
                between += reads[between[-1]]
            if x in between:
                yield {*between[: between.index(x)]}


def peak(model: onnx.ModelProto) -> int:
    """Return the most elements alive during any step."""
    elements = sizes(model)
    steps = [("input", [], model.graph.input[0].name), *activation_steps(model.graph)]
    whole: dict[str, str] = {}  # the tensor of which a gathered one is a part
    for operator, read, result in steps:
        assert operator in {"input"} | WRITING | IN_PLACE | GATHERING, operator
        whole[result] = whole[read[0]] if operator in GATHERING else result
    last = {whole[name]: step for step, (_, read, result) in enumerate(steps) for name in (*read, result)}
    last[whole[model.graph.output[0].name]] = len(steps)
    place: dict[str, str] = {}  # the tensor whose memory a tensor has
    until: dict[str, int] = {}
    for step, (operator, read, result) in enumerate(steps):
        if whole[result] == result:
            unread = [name for name in read if last[whole[name]] == step and elements[whole[name]] == elements[result]]
            place[result] = place[whole[unread[0]]] if operator in IN_PLACE and unread else result
            until[place[result]] = last[result]
    born = {result: step for step, (_, _, result) in enumerate(steps)}
    return max(sum(elements[t] for t in until if born[t] <= step <= until[t]) for step in range(len(steps)))
