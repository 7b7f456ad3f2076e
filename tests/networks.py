"""Networks that many tests use."""

from __future__ import annotations

from typing import Any

MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": 8,
    "depth": 4,
    "skip_channels": 8,
    "activation": "relu",
}
"""A network for `digits` that is trained in a second."""
