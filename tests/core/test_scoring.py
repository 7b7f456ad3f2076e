"""Scoring arrays of architectures gives what evaluating them one by one gives."""

from __future__ import annotations

import numpy as np
import pytest

from nnmass_core.architecture import Image
from nnmass_core.errors import DefinitionError
from nnmass_core.families.densenet_cnn import Cell, DenseNetCnn
from nnmass_core.scoring import ROWS_AT_ONCE, score_densenet_cnn

IMAGE = Image(channels=3, height=33, width=32)


def random_cells(rows: int, cells: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    rng = np.random.default_rng(rows)
    columns = [
        rng.integers(1, 300, (rows, cells)),
        rng.integers(1, 40, (rows, cells)),
        rng.integers(0, 900, (rows, cells)),
    ]
    return np.stack(columns, axis=2)


@pytest.mark.parametrize("cells", [1, 3, 4])
def test_scores_equal_single_evaluations(cells: int) -> None:
    rows = random_cells(400, cells)
    scores = score_densenet_cnn(IMAGE, 10, rows)
    for i, row in enumerate(rows.tolist()):
        network = DenseNetCnn(
            input=IMAGE,
            num_classes=10,
            cells=tuple(Cell(width=w, depth=d, skip_channels=t) for w, d, t in row),
        )
        figures = network.evaluation
        assert scores.nn_mass[i] == pytest.approx(float(figures.mass), rel=1e-14)
        exact = (figures.params, figures.macs, figures.weights, figures.peak_elements)
        assert (scores.params[i], scores.macs[i], scores.weights[i], scores.peak_elements[i]) == exact


def test_blocks_do_not_show() -> None:
    rows = random_cells(2 * ROWS_AT_ONCE + 7, 3)
    whole = score_densenet_cnn(IMAGE, 10, rows)
    parts = [score_densenet_cnn(IMAGE, 10, part) for part in np.array_split(rows, 5)]
    for name in ("nn_mass", "params", "macs", "weights", "peak_elements"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts]))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((2, 3), np.int64),
        np.ones((2, 3, 3)),
        np.zeros((2, 3, 3), np.int64),
        np.full((2, 3, 3), 10**6),
        np.ones((2, 7, 3), np.int64),
    ],
)
def test_bad_arrays_are_refused(bad: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    with pytest.raises(DefinitionError):
        score_densenet_cnn(IMAGE, 10, bad)
