"""Scoring arrays of architectures gives what evaluating them one by one gives, by numpy and by machine code alike."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass_core.architecture import Evaluation, Image
from nnmass_core.engine.chain import Ints
from nnmass_core.errors import DefinitionError
from nnmass_core.families.densenet_cnn import Cell, DenseNetCnn
from nnmass_core.scoring import batch
from nnmass_core.scoring.batch import ROWS_AT_ONCE, Scores, nearest, score_densenet_cnn
from nnmass_core.scoring.closed_forms import add_cell, add_cell_by_rows

IMAGE = Image(channels=3, height=33, width=32)
SMALLEST = Image(channels=1, height=2, width=2)
WIDEST, DEEPEST = 8192, 512
FIELDS = ("nn_mass", "params", "macs", "weights", "peak_elements", "indices")


@pytest.fixture(params=["numpy", "compiled"])
def compiled(request: pytest.FixtureRequest) -> bool:
    if request.param == "compiled":
        pytest.importorskip("numba", reason="the extra `fast` is not installed")
    return bool(request.param == "compiled")


def random_cells(rows: int, cells: int) -> Ints:
    rng = np.random.default_rng(rows)
    columns = [
        rng.integers(1, 300, (rows, cells)),
        rng.integers(1, 40, (rows, cells)),
        rng.integers(0, 900, (rows, cells)),
    ]
    return np.stack(columns, axis=2)


def edge_cells(cells: int) -> Ints:
    """Every cell at and about the places where the closed forms turn: d = 1, 2, 3; t = 0, w, 2w, full and surplus."""
    triples = [
        (w, d, t)
        for w in (1, 7, 64)
        for d in (1, 2, 3, 4, 9)
        for full in (w * max(d - 2, 0),)
        for t in {0, 1, w - 1, w, w + 1, 2 * w, max(full - 1, 0), full, full + 1, full + 1000}
    ]
    one = np.array(triples, np.int64)
    return np.stack([np.roll(one, 37 * i, axis=0) for i in range(cells)], axis=1)


def evaluate(image: Image, num_classes: int, row: list[list[int]]) -> Evaluation:
    cells = tuple(Cell(width=w, depth=d, skip_channels=t) for w, d, t in row)
    return DenseNetCnn(input=image, num_classes=num_classes, cells=cells).evaluation


def assert_equal_to_single_evaluations(scores: Scores, image: Image, num_classes: int, rows: Ints) -> None:
    for i, row in enumerate(rows.tolist()):
        figures = evaluate(image, num_classes, row)
        assert scores.nn_mass[i] == float(figures.mass)
        exact = (figures.params, figures.macs, figures.weights, figures.peak_elements, figures.indices)
        assert tuple(getattr(scores, name)[i] for name in FIELDS[1:]) == exact
        assert scores.weight_bytes("int8")[i] == figures.report("int8")["weight_bytes"]


def assert_identical(one: Scores, other: Scores) -> None:
    for name in FIELDS:
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


@pytest.mark.parametrize(
    "image", [IMAGE, Image(channels=1, height=17, width=50), Image(channels=2, height=1, width=19)]
)
@pytest.mark.parametrize("cells", [1, 2, 3, 4])
def test_scores_equal_single_evaluations(image: Image, cells: int, compiled: bool) -> None:
    for rows in (random_cells(400, cells), edge_cells(cells)):
        scores = score_densenet_cnn(image, 10, rows, compiled=compiled)
        assert_equal_to_single_evaluations(scores, image, 10, rows)


def test_a_sum_halfway_between_two_doubles_is_left_to_exact_arithmetic() -> None:
    half = 2.0**-53
    total, rest = (
        np.array([1.0, 1.0, 1.0, 1.0, 784.0]),
        np.array([half, half * 0.9, -half / 2, half * (1 - 2**-50), 0.0]),
    )
    found, doubtful = nearest(total, rest)
    assert found.tolist() == [1.0, 1.0, 1.0, 1.0, 784.0]
    assert doubtful.tolist() == [0, 2, 3]


def test_doubtful_sums_are_the_nearest_double_too(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_cells(50, 3)
    monkeypatch.setattr(batch, "nearest", lambda total, rest: (0 * total, np.arange(len(total))))
    assert_equal_to_single_evaluations(score_densenet_cnn(IMAGE, 10, rows, compiled=compiled), IMAGE, 10, rows)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(1, WIDEST),
    st.integers(1, DEEPEST),
    st.floats(0, 1.1),
    st.integers(1, 1024),
    st.integers(1, 1_000_000),
)
def test_scores_of_any_cell_within_the_bounds_are_exact(
    w: int, d: int, share: float, channels: int, classes: int
) -> None:
    rows = np.array([[[w, d, int(share * w * max(d - 2, 0))]]])
    image = Image(channels=channels, height=3, width=2)
    assert_equal_to_single_evaluations(score_densenet_cnn(image, classes, rows, compiled=False), image, classes, rows)


@pytest.mark.parametrize("multiple", [1, 2, 509, 510])
def test_scores_are_exact_for_skip_channels_near_a_multiple_of_the_width(multiple: int, compiled: bool) -> None:
    widths = np.arange(1, WIDEST + 1)
    columns = [
        np.tile(widths, 3),
        np.full(3 * WIDEST, DEEPEST),
        np.concatenate([multiple * widths + i for i in (-1, 0, 1)]),
    ]
    scores = score_densenet_cnn(SMALLEST, 1, np.stack(columns, axis=1)[:, None], compiled=compiled)
    w, d, t = columns
    links = sum(np.minimum(w * (j - 1), t) for j in range(2, DEEPEST))
    assert np.array_equal(scores.params, 9 * w * (1 + (d - 1) * w + links) + 2 * (w + (d - 1) * w + links) + w + 1)


def test_costs_of_the_largest_cell_are_exact_beyond_the_integers_of_a_double(compiled: bool) -> None:
    image, most = Image(channels=1024, height=300, width=301), 1_000_000
    rows = np.array([[[WIDEST, DEEPEST, WIDEST * DEEPEST]] * 2])
    scores = score_densenet_cnn(image, most, rows, compiled=compiled)
    area, quarter, w, d = 300 * 301, 150 * 151, WIDEST, DEEPEST
    entering = (d - 1) * w + w * (d - 1) * (d - 2) // 2
    head = 75 * 75 * most * w
    assert scores.macs[0] == 9 * w * ((1024 + entering) * area + (w + entering) * quarter) + head
    assert 2**53 < scores.macs[0] < 2**63
    assert scores.params[0] == 9 * w * (1024 + w + 2 * entering) + 2 * 2 * (w + entering) + head + most
    assert scores.peak_elements[0] == (d * w + w * (d - 2)) * area


@pytest.mark.parametrize("side", [500, 8192])
@pytest.mark.parametrize("place", [0, ROWS_AT_ONCE - 1, ROWS_AT_ONCE + 5])
def test_costs_that_overflow_are_refused(side: int, place: int, compiled: bool) -> None:
    image = Image(channels=3, height=side, width=side)
    rows = np.ones((2 * ROWS_AT_ONCE, 1, 3), np.int64)
    rows[place] = WIDEST, DEEPEST, WIDEST * DEEPEST
    with pytest.raises(DefinitionError) as refused:
        score_densenet_cnn(image, 10, rows, compiled=compiled)
    assert [(p.field, p.code) for p in refused.value.problems] == [("cells", "too_large")]


@pytest.mark.parametrize("least", [True, False])
def test_costs_below_two_to_the_63_are_accepted_and_others_refused(least: bool, compiled: bool) -> None:
    """9 w c area plus the head, about 2**63: one more column of pixels is one too many."""
    w, d, height = WIDEST, DEEPEST, 4096
    per_position = 9 * w * (1 + (d - 1) * w + w * (d - 1) * (d - 2) // 2)
    fitting = 2 * ((2**63 - 1) // (height * per_position) // 2)
    width = fitting if least else fitting + 2
    macs = height * width * per_position + (height // 2) * (width // 2) * w
    assert (macs < 2**63) == least
    rows, image = np.array([[[w, d, w * d]]]), Image(channels=1, height=height, width=width)
    if least:
        assert score_densenet_cnn(image, 1, rows, compiled=compiled).macs[0] == macs
    else:
        with pytest.raises(DefinitionError):
            score_densenet_cnn(image, 1, rows, compiled=compiled)


@pytest.mark.parametrize("rows", [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 2 * ROWS_AT_ONCE + 7])
def test_scores_do_not_depend_on_the_block_size(rows: int, compiled: bool) -> None:
    cells = random_cells(rows, 3)
    whole = score_densenet_cnn(IMAGE, 10, cells, compiled=compiled)
    parts = [score_densenet_cnn(IMAGE, 10, part, compiled=compiled) for part in np.array_split(cells, 5)]
    for name in FIELDS:
        assert getattr(whole, name).shape == (rows,)
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts]))


@pytest.mark.parametrize("cells", [1, 3])
def test_machine_code_gives_the_same_bits(cells: int) -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    for rows in (random_cells(20_000, cells), edge_cells(cells)):
        by_numpy = score_densenet_cnn(IMAGE, 10, rows, compiled=False)
        assert_identical(score_densenet_cnn(IMAGE, 10, rows, compiled=True), by_numpy)


def test_the_loop_without_compilation_gives_the_same_bits() -> None:
    cells = edge_cells(1)[:, 0].T.copy()
    totals = [(np.zeros((2, cells.shape[1])), np.zeros((5, cells.shape[1]), np.int64)) for _ in range(2)]
    for add, (nn_mass, costs) in zip((add_cell, add_cell_by_rows), totals, strict=True):
        for _ in range(2):
            add(np.roll(cells[0], 1), cells, 40, 10, nn_mass, costs)
    assert totals[0][0].tobytes() == totals[1][0].tobytes()
    assert np.array_equal(totals[0][1], totals[1][1])
    assert totals[0][1].any(axis=1).all()


def test_arrays_of_any_memory_layout_are_accepted(compiled: bool) -> None:
    cells = random_cells(100, 3)
    expected = score_densenet_cnn(IMAGE, 10, cells, compiled=compiled)
    wide = np.zeros((200, 3, 6), np.int64)
    wide[::2, :, ::2] = cells
    unwritable = cells.copy()
    unwritable.flags.writeable = False
    for same in (wide[::2, :, ::2], np.asfortranarray(cells), unwritable):
        assert_identical(score_densenet_cnn(IMAGE, 10, same, compiled=compiled), expected)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (np.zeros((2, 3), np.int64), "bad_shape"),
        (np.ones((2, 3, 3)), "bad_shape"),
        (np.ones((2, 0, 3), np.int64), "bad_shape"),
        (np.ones((2, 13, 3), np.int64), "bad_shape"),
        (np.zeros((2, 3, 3), np.int64), "out_of_range"),
        (np.full((2, 3, 3), 10**6), "out_of_range"),
        (np.full((2, 3, 3), -(2**63)), "out_of_range"),
        (np.ones((2, 7, 3), np.int64), "too_small"),
    ],
)
def test_invalid_arrays_are_refused(bad: Any, code: str, compiled: bool) -> None:
    with pytest.raises(DefinitionError) as refused:
        score_densenet_cnn(IMAGE, 10, bad, compiled=compiled)
    assert {p.code for p in refused.value.problems} == {code}


def test_every_integer_out_of_range_is_reported_with_its_position(compiled: bool) -> None:
    rows = random_cells(2 * ROWS_AT_ONCE, 2)
    rows[3, 0, 0], rows[ROWS_AT_ONCE + 5, 1, 1], rows[-1, 0, 2] = 0, DEEPEST + 1, -1
    with pytest.raises(DefinitionError, match=r"width.*depth.*skip_channels"):
        score_densenet_cnn(IMAGE, 10, rows, compiled=compiled)


@pytest.fixture
def machine_code_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nnmass_core.scoring.compiled", raising=False)
    monkeypatch.delattr("nnmass_core.scoring.compiled", raising=False)


@pytest.mark.usefixtures("machine_code_not_loaded")
def test_requesting_machine_code_without_numba_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(DefinitionError) as refused:
        score_densenet_cnn(IMAGE, 10, random_cells(3, 3), compiled=True)
    assert [(p.field, p.code) for p in refused.value.problems] == [("compiled", "not_installed")]


@pytest.mark.usefixtures("machine_code_not_loaded")
def test_many_networks_are_scored_by_numpy_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(batch, "ROWS_WORTH_COMPILING", 100)
    cells = random_cells(100, 3)
    assert_identical(score_densenet_cnn(IMAGE, 10, cells), score_densenet_cnn(IMAGE, 10, cells, compiled=False))


@pytest.mark.usefixtures("machine_code_not_loaded")
def test_machine_code_is_loaded_only_for_many_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    monkeypatch.setattr(batch, "ROWS_WORTH_COMPILING", 100)
    score_densenet_cnn(IMAGE, 10, random_cells(99, 3))
    assert "nnmass_core.scoring.compiled" not in sys.modules
    score_densenet_cnn(IMAGE, 10, random_cells(100, 3))
    assert "nnmass_core.scoring.compiled" in sys.modules


@pytest.mark.usefixtures("machine_code_not_loaded")
def test_machine_code_works_without_a_writable_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")

    def refuse(*_args: Any, **_options: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    cells = random_cells(100, 3)
    expected = score_densenet_cnn(IMAGE, 10, cells, compiled=False)
    assert_identical(score_densenet_cnn(IMAGE, 10, cells, compiled=True), expected)
