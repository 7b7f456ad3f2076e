"""Checks of a space against all of its networks, listed, costed and ranked independently."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import numpy as np

from nnmass_core.budget import Budget
from nnmass_core.engine.chain import Chain
from nnmass_core.families import decode_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import chain_of, search
from tests.core.brute import Row, answer, first_of_each_shape, within
from tests.core.latencies import model
from tests.core.problems import random_budget

# untyped: spaces as JSON has them, and networks of any family

LIMITS = ("max_params", "max_macs", "max_weight_bytes", "max_peak_activation_bytes")

CellsOf = Callable[[Any], Any]
"""Returns the integers of a network, as `Row.cells` has them."""


def find(space: dict[str, Any], budget: dict[str, Any], objective: Objective, **more: Any) -> Any:
    return search(SearchRequest(space=decode_space(space), budget=Budget(**budget), objective=objective, **more))


def found_in(result: Any, cells_of: CellsOf) -> list[Any]:
    return [cells_of(place.architecture) for place in result.ranking]


def in_order_of(figure: str, row: Row) -> tuple[Any, ...]:
    """Return what orders rows by a figure, then as the ranking does."""
    return (getattr(row, figure), *row.place)


def every_path(chain: Chain) -> list[list[int]]:
    """Return every path, following the options by hand."""
    partial: list[tuple[int, list[int]]] = [(0, [])]
    for stage in chain.stages:
        source, target = stage.source.tolist(), stage.target.tolist()
        partial = [
            (target[option], [*path, option])
            for node, path in partial
            for option in range(len(stage))
            if source[option] == node
        ]
    return [path for _, path in partial]


def check_paths(space: dict[str, Any], rows: list[Row], cells_of: CellsOf) -> None:
    """Check that each network is exactly one path, with its figures."""
    decoded = decode_space(space)
    chain = chain_of(decoded, model())
    paths = np.array(every_path(chain))
    networks = [decoded.architecture(path) for path in chain.path_integers(paths).tolist()]
    assert sorted(map(cells_of, networks)) == sorted(row.cells for row in rows)
    assert chain.count() == len(rows)
    assert chain.options() <= decoded.option_bound()
    layers = decoded.layers(chain)
    assert layers is not None
    depths = np.sum([of_stage[paths[:, i]] for i, of_stage in enumerate(layers)], axis=0)
    assert depths.tolist() == [network.evaluation.depth for network in networks]
    sums = np.sum([stage.additive[paths[:, i]] for i, stage in enumerate(chain.stages)], axis=0)
    of_network: dict[Any, Row] = {row.cells: row for row in rows}
    for network, path, total, peak in zip(networks, paths.tolist(), sums, chain.path_peaks(paths), strict=True):
        row = of_network[cells_of(network)]
        assert (chain.path_mass(path), *total[1:4], peak) == (row.mass, row.params, row.macs, row.weights, row.peak)
        assert total[5] == row.indices
        work = network.work()
        assert work is not None
        assert total[4] == sum(model().nanoseconds(part) for part in work)


def check_most_mass(space: dict[str, Any], rows: list[Row], cells_of: CellsOf, rng: Random) -> None:
    """Check rankings of most NN-Mass within random limits, and what their certificates say."""
    budget, top_k, diversity = random_budget(rng, rows), rng.choice((1, 5, 1000)), rng.choice(("none", "shape"))
    result = find(space, budget, Maximize(), top_k=top_k, diversity=diversity)
    expected = answer(rows, budget, top_k, diversity)
    assert found_in(result, cells_of) == [row.cells for row in expected.ranking]
    assert (result.certificate.optimal, result.certificate.space_size) == (True, len(rows))
    assert set(result.certificate.binding or ()) == set(expected.binding)
    assert result.certificate.relaxation == expected.relaxation


def check_least_costs(space: dict[str, Any], rows: list[Row], cells_of: CellsOf, rng: Random) -> None:
    """Check rankings of least costs at a least NN-Mass, and fronts in one cost, within random limits."""
    budget = random_budget(rng, rows)
    fitting = within(rows, {name: budget[name] for name in LIMITS if name in budget}, budget["precision"])
    wanted, diversity = rng.choice(rows).mass, rng.choice(("none", "shape"))
    for cost, figure in (("params", "params"), ("macs", "macs"), ("peak_activation_bytes", "peak")):
        by_cost = sorted(fitting, key=partial(in_order_of, figure))
        dense = [row for row in by_cost if row.mass >= wanted]
        expected = (first_of_each_shape(dense) if diversity == "shape" else dense)[:7]
        found = find(space, budget, Minimize(cost, float(wanted)), top_k=7, diversity=diversity)
        assert found_in(found, cells_of) == [row.cells for row in expected]
        front: list[Row] = []
        for candidate in by_cost:
            if not front or candidate.mass > front[-1].mass:
                front.append(candidate)
        assert found_in(find(space, budget, Pareto((cost,))), cells_of) == [row.cells for row in front]
