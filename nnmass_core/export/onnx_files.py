"""ONNX files as they are given out: what a runtime reads, and nothing of the machine that wrote them.

The exporter of torch notes for each operator the lines of source that it comes from, with their paths, and the steps
of its own translation: in a small network more than half of the file. No runtime reads them.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nnmass_core import __version__

# untyped: the messages of ONNX are protocol buffers, whose fields no type checker knows


def cleaned(model: Any, name: str) -> Any:
    """Return a model without traces of its making: an `onnx.ModelProto`, which is changed.

    Notes, source lines and paths go, and sizes that shape inference finds again. The numbers of gathered channels take
    4 bytes each in place of 8, as docs/theory.md (21) counts them. The format's version is the lowest that holds the
    operators, so that older runtimes read the file.

    Args:
        model: The model; its weights are in it.
        name: The name of the graph.
    """
    graph = model.graph
    _shorten_channel_numbers(graph)
    del graph.value_info[:], graph.quantization_annotation[:], model.metadata_props[:]
    for part in chain([graph], graph.node, graph.initializer, graph.input, graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.name = name
    model.ClearField("doc_string")
    model.producer_name, model.producer_version = "nnmass", __version__
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    return model


def _shorten_channel_numbers(graph: Any) -> None:
    """Store the channel numbers that only gathers read as int32."""
    gathers = {node.input[1] for node in graph.node if node.op_type == "Gather"}
    others = {name for node in graph.node for place, name in enumerate(node.input) if _other(node, place)}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT64 and tensor.name in gathers - others:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int32), tensor.name))


def _other(node: Any, place: int) -> bool:
    return not (node.op_type == "Gather" and place == 1)
