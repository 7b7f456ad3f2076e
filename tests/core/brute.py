"""Every architecture of a small space of cells, costed by a walk over its layers, ranked by docs/theory.md (11).

Nothing here comes from the product: ranges are expanded, networks walked and questions answered independently.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from tests.oracle import Cells, Count, canonical, nn_mass, walk
from tests.walks import Tape, walk_depthwise, walk_mlp

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
LIMITS = ("max_params", "max_macs", "max_weight_bytes", "max_peak_activation_bytes")


@dataclass(frozen=True)
class Row:
    """One architecture with all its figures."""

    cells: Cells
    mass: Fraction
    params: int
    macs: int
    weights: int
    peak: int
    indices: int = 0

    @property
    def place(self) -> tuple[Fraction, int, int, Cells]:
        """What the ranking order compares, smaller first."""
        return -self.mass, self.macs, self.params, self.cells

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """Widths and depths."""
        return tuple((w, d) for w, d, _ in self.cells)

    def weight_bytes(self, precision: str) -> int:
        """Return the bytes of stored numbers, and of channel numbers at 4 bytes each."""
        return self.weights * BYTES[precision] + 4 * self.indices

    def use(self, limit: str, precision: str) -> int:
        """Return what the architecture takes of a limit, in the limit's unit."""
        if limit == "max_params":
            return self.params
        if limit == "max_macs":
            return self.macs
        if limit == "max_weight_bytes":
            return self.weight_bytes(precision)
        assert limit == "max_peak_activation_bytes"
        return self.peak * BYTES[precision]


@dataclass(frozen=True)
class Answer:
    """What a search must find."""

    ranking: tuple[Row, ...]
    binding: tuple[str, ...]
    relaxation: dict[str, int | None] | None
    joint: tuple[Fraction | None, dict[str, int] | None] | None = None
    """The least common factor on all limits and the limits that it gives, where no single limit suffices."""


def expand(form: Any) -> list[int]:
    """Return the values of a range, a list of numbers, or one number."""
    if isinstance(form, dict):
        return list(range(form["min"], form["max"] + 1, form.get("step", 1)))
    return sorted(set(form)) if isinstance(form, list) else [form]


def axes(form: Any, cells: int) -> list[list[int]]:
    """Return each cell's values."""
    if isinstance(form, list) and any(isinstance(entry, dict | list) for entry in form):
        return [expand(entry) for entry in form]
    return [expand(form)] * cells


def shapes(space: dict[str, Any]) -> list[tuple[tuple[int, int], ...]]:
    """Return every tuple of (width, depth) that the space's rules allow, of each number of cells."""
    return [shape for count in expand(space.get("cells", 1)) for shape in shapes_of(space, count)]


def shapes_of(space: dict[str, Any], count: int) -> list[tuple[tuple[int, int], ...]]:
    """Return every tuple of (width, depth) of so many cells, the first that the space describes."""
    most = max(expand(space.get("cells", 1)))
    widths = list(itertools.product(*axes(space["width"], most)[:count]))
    if space.get("width_rule") == "never_fall":
        widths = [ws for ws in widths if list(ws) == sorted(ws)]
    if space.get("width_rule") == "doubling":
        widths = [tuple(w * 2**c for c in range(count)) for w in expand(space["width"])]
    depths = list(itertools.product(*axes(space["depth"], most)[:count]))
    if space.get("depth_rule"):
        depths = [(d,) * count for d in expand(space["depth"])]
    return [tuple(zip(w, d, strict=True)) for w in widths for d in depths]


def architectures(space: dict[str, Any]) -> set[Cells]:
    """Return every distinct architecture of the space."""
    skips = axes(space["skip_channels"], max(expand(space.get("cells", 1))))
    found: set[Cells] = set()
    for shape in shapes(space):
        by_cell = [{canonical(((w, d, t),))[0] for t in ts} for (w, d), ts in zip(shape, skips, strict=False)]
        found.update(itertools.product(*by_cell))
    return {cells for cells in found if space["family"] != "densenet_mlp" or are_apart(cells)}


def are_apart(cells: Cells) -> bool:
    """Return whether no two neighbors are one cell: in an MLP those of one width that both take no skip channels."""
    return all(a[0] != b[0] or a[2] or b[2] for a, b in itertools.pairwise(cells))


def count_of(space: dict[str, Any], cells: Cells) -> Count | Tape:
    """Walk one architecture of the space."""
    if space["family"] == "densenet_mlp":
        return walk_mlp(space["in_features"], space["num_classes"], cells, batchnorm=bool(space.get("batchnorm")))
    image = space["input"]["channels"], space["input"]["height"], space["input"]["width"]
    if space["family"] == "densenet_cnn_depthwise":
        return walk_depthwise(image, space["num_classes"], cells)
    return walk(image, space["num_classes"], cells)


def row(space: dict[str, Any], cells: Cells) -> Row:
    """Cost one architecture of the space."""
    count = count_of(space, cells)
    stored = count.params + 2 * count.norm
    return Row(cells, nn_mass(cells), count.params, count.macs, stored, count.peak, count.indices)


def ranked(space: dict[str, Any]) -> list[Row]:
    """Return the whole space in ranking order."""
    return list(_ranked(json.dumps(space)))


@lru_cache(maxsize=16)
def _ranked(space: str) -> tuple[Row, ...]:
    """Return the rows of a space in JSON; several tests ask for those of the same space."""
    form = json.loads(space)
    return tuple(sorted((row(form, cells) for cells in architectures(form)), key=lambda found: found.place))


def within(rows: list[Row], limits: dict[str, int], precision: str) -> list[Row]:
    """Return the rows that keep every limit, in their order."""
    for name, bound in limits.items():
        rows = [row for row in rows if row.use(name, precision) <= bound]
    return rows


def first_of_each_shape(rows: list[Row]) -> list[Row]:
    """Return the best row of each shape, in their order."""
    best: dict[tuple[tuple[int, int], ...], Row] = {}
    for found in rows:
        best.setdefault(found.shape, found)
    return list(best.values())


def answer(rows: list[Row], budget: dict[str, Any], top_k: int, diversity: str) -> Answer:
    """Answer a search over `rows`, which are in ranking order."""
    precision = budget.get("precision", "fp32")
    limits = {name: budget[name] for name in LIMITS if name in budget}
    fitting = within(rows, limits, precision)
    ranking = first_of_each_shape(fitting) if diversity == "shape" else fitting
    others = {name: within(rows, {k: v for k, v in limits.items() if k != name}, precision) for name in limits}
    if fitting:
        binding = tuple(name for name in limits if others[name][0].mass > fitting[0].mass)
        return Answer(tuple(ranking[:top_k]), binding, None)
    least = {name: min((r.use(name, precision) for r in remaining), default=None) for name, remaining in others.items()}
    joint = joint_relaxation(rows, limits, precision) if limits and set(least.values()) == {None} else None
    return Answer((), (), least, joint)


def joint_relaxation(
    rows: list[Row], limits: dict[str, int], precision: str
) -> tuple[Fraction | None, dict[str, int] | None]:
    """Return the least factor for which the limits times the factor admit a row, and these limits, rounded down."""
    factors = [_factor(row, limits, precision) for row in rows]
    factor = min((one for one in factors if one is not None), default=None)
    return factor, None if factor is None else {name: int(bound * factor) for name, bound in limits.items()}


def _factor(row: Row, limits: dict[str, int], precision: str) -> Fraction | None:
    """Return the factor by which a row exceeds the limits; None where it exceeds a limit of 0."""
    if any(row.use(name, precision) > 0 for name, bound in limits.items() if bound == 0):
        return None
    return max(Fraction(row.use(name, precision), bound) for name, bound in limits.items() if bound)
