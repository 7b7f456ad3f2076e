"""Names of files that hold no definition of a network: weights and compiled networks."""

from __future__ import annotations

ENDINGS = (
    *(".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".pkl", ".bin"),
    *(".onnx", ".ort", ".tflite", ".keras", ".h5", ".pb"),
)

TAKEN = "give the network's definition as JSON, or the name of a known network"
"""What is taken in place of a model file: NN-Mass and costs follow from the definition, not from weights."""


def is_model_file(name: str) -> bool:
    """Return whether a text is the name of a file with weights or a compiled network, by its ending."""
    return name.lower().endswith(ENDINGS)
