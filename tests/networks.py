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

SIZES: dict[str, Any] = {
    "family": "mobilenet_v2",
    "input": {"channels": 3, "resolution": [32, 48]},
    "num_classes": 5,
    "stem_channels": 8,
    "last_channels": 64,
    "stages": [{"expansion": 6, "channels": [16, 24], "repeats": [1, 2, 3], "stride": 2}],
}
"""A space that varies the resolution of the input."""
