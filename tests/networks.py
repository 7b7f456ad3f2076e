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

AROUND_MOBILENET: dict[str, Any] = {
    "family": "mobilenet_v2",
    "input": {"channels": 3, "height": 224, "width": 224},
    "num_classes": 1000,
    "stem_channels": 32,
    "last_channels": 1280,
    "stages": [
        {"expansion": 1 if k == 0 else [2, 3, 4, 5, 6, 8], "channels": channels, "repeats": repeats, "stride": stride}
        for k, (channels, repeats, stride) in enumerate(
            [
                ({"min": 8, "max": 24, "step": 8}, [1, 2], 1),
                ({"min": 16, "max": 40, "step": 8}, {"min": 1, "max": 6}, 2),
                ({"min": 16, "max": 48, "step": 8}, {"min": 1, "max": 6}, 2),
                ({"min": 32, "max": 96, "step": 8}, {"min": 1, "max": 6}, 2),
                ([48, 64, 72, 88, 96, 112, 120, 136, 144], {"min": 1, "max": 6}, 1),
                ([80, 104, 120, 144, 160, 184, 200, 224, 240], {"min": 1, "max": 6}, 2),
                ({"min": 160, "max": 480, "step": 40}, [1, 2], 1),
            ]
        )
    ],
}
"""MobileNetV2's stages, which overlap at about half to one and a half times their channels."""
