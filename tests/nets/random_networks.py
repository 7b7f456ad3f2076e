"""Random small networks of every family, as definitions."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.core.residual_problems import FAMILIES as RESIDUAL
from tests.core.residual_problems import random_network as random_residual

FAMILIES = ("densenet_cnn", "densenet_cnn_depthwise", "densenet_mlp", *RESIDUAL)


def random_network(rng: Random, family: str) -> dict[str, Any]:
    """Return a definition that builds in a moment."""
    if family == "densenet_mlp":
        return random_mlp(rng)
    if family in RESIDUAL:
        return random_residual(rng, family)
    count = rng.randint(1, 3)
    sides = [rng.randint(2 ** (count - 1) + 1, 14) for _ in range(2)]
    cells = [
        {"width": rng.randint(1, 7), "depth": rng.randint(1, 8), "skip_channels": rng.choice((0, 1, 5, 20, 99))}
        for _ in range(count)
    ]
    if rng.random() < 0.2:  # a signal
        sides[rng.randint(0, 1)] = 1
    image = {"channels": rng.randint(1, 4), "height": sides[0], "width": sides[1]}
    return {"family": family, "input": image, "num_classes": rng.randint(1, 7), "cells": cells}


def random_mlp(rng: Random) -> dict[str, Any]:
    """Return a definition of one cell as in the publication, or of up to three cells, at times with BatchNorm."""
    count = rng.choice((1, 1, 2, 3))
    form = {
        "family": "densenet_mlp",
        "in_features": rng.randint(1, 30),
        "num_classes": rng.randint(1, 7),
        "activation": rng.choice(("relu", "elu")),
        "batchnorm": rng.choice((1, 0)),
    }
    if rng.random() < 0.2:
        form |= {"num_classes": form["in_features"], "outputs": "reconstruction"}
    widths = rng.sample(range(1, 10), count)
    first, *later = [
        {"width": w, "depth": rng.randint(1 if i + 1 < count else 2, 9), "skip_channels": rng.choice((0, 12, 40, 2, 5))}
        for i, w in enumerate(widths)
    ]
    return form | first | ({"later_cells": later} if later else {})
