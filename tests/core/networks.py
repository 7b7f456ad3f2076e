"""Random networks of image cells, and their definitions."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.oracle import Cells

Image = tuple[int, int, int]
"""Channels, height, width."""


@st.composite
def networks(draw: st.DrawFn) -> tuple[Image, int, Cells]:
    """An image or a signal (channels, height, width), a number of classes, and cells."""
    number = draw(st.integers(1, 4))
    sides = st.integers(2 ** (number - 1) + 1, 40)
    cell = st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(0, 120))
    cells = draw(st.lists(cell, min_size=number, max_size=number))
    height, width = draw(sides), draw(sides)
    height, width = draw(st.sampled_from(((height, width), (height, width), (1, width), (height, 1))))
    return (draw(st.integers(1, 5)), height, width), draw(st.integers(1, 20)), tuple(cells)


def definition(image: Image, classes: int, cells: Cells, family: str = "densenet_cnn") -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "family": family,
        "input": dict(zip(("channels", "height", "width"), image, strict=True)),
        "num_classes": classes,
        "cells": [{"width": w, "depth": d, "skip_channels": t} for w, d, t in cells],
    }
