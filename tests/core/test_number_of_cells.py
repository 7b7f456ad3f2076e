"""Spaces of cells whose number is searched: each network once, docs/theory.md (68)."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.request import Maximize, Minimize, Pareto
from nnmass_core.search import chain_of
from tests.core.brute import Row, answer, first_of_each_shape, ranked, within
from tests.core.latencies import model
from tests.core.problems import random_budget, random_space
from tests.core.test_overlapping import LIMITS, every_path, find, in_order_of

COUNTS = ([1, 2], [1, 3], [2, 3], {"min": 1, "max": 3}, [2], [1, 2, 4])
FAMILIES = ("densenet_cnn", "densenet_cnn_depthwise")


def of_counts(rng: Random, most: int = 400) -> tuple[dict[str, Any], list[Row]]:
    """Return a space whose number of cells is searched, and its networks in ranking order."""
    space = random_space(rng, most, rng.choice(FAMILIES), COUNTS)
    return space, ranked(space)


def cells_of(network: Any) -> tuple[tuple[int, ...], ...]:
    return tuple((cell["width"], cell["depth"], cell["skip_channels"]) for cell in network.definition()["cells"])


def found_in(result: Any) -> list[Any]:
    return [cells_of(place.architecture) for place in result.ranking]


@pytest.mark.random_cases(80)
def test_each_network_is_exactly_one_path(seed: int) -> None:
    space, rows = of_counts(Random(seed), 150)
    decoded = decode_space(space)
    chain = chain_of(decoded, model())
    paths = np.array(every_path(chain))
    networks = [decoded.architecture(path) for path in chain.path_integers(paths).tolist()]
    assert sorted(map(cells_of, networks)) == sorted(row.cells for row in rows)
    assert chain.count() == len(rows)
    assert chain.options() <= decoded.option_bound()
    largest = decoded.largest().evaluation
    sums = np.sum([stage.additive[paths[:, i]] for i, stage in enumerate(chain.stages)], axis=0)
    of_network: dict[Any, Row] = {row.cells: row for row in rows}
    for network, path, total, peak in zip(networks, paths.tolist(), sums, chain.path_peaks(paths), strict=True):
        row = of_network[cells_of(network)]
        assert (chain.path_mass(path), *total[1:4], peak) == (row.mass, row.params, row.macs, row.weights, row.peak)
        assert total[5] == row.indices
        assert row.params <= largest.params
        assert row.macs <= largest.macs
        assert row.weights <= largest.weights
        assert row.peak <= largest.peak_elements
        work = network.work()
        assert work is not None
        assert total[4] == sum(model().nanoseconds(part) for part in work)


@pytest.mark.random_cases(80)
def test_the_most_nn_mass_equals_brute_force(seed: int) -> None:
    rng = Random(f"most {seed}")
    space, rows = of_counts(rng)
    budget, top_k, diversity = random_budget(rng, rows), rng.choice((1, 5, 1000)), rng.choice(("none", "shape"))
    result = find(space, budget, Maximize(), top_k=top_k, diversity=diversity)
    expected = answer(rows, budget, top_k, diversity)
    assert found_in(result) == [row.cells for row in expected.ranking]
    assert (result.certificate.optimal, result.certificate.space_size) == (True, len(rows))
    assert set(result.certificate.binding or ()) == set(expected.binding)
    assert result.certificate.relaxation == expected.relaxation


@pytest.mark.random_cases(30)
def test_least_costs_and_fronts_equal_brute_force(seed: int) -> None:
    rng = Random(f"least {seed}")
    space, rows = of_counts(rng, 150)
    budget = random_budget(rng, rows)
    fitting = within(rows, {name: budget[name] for name in LIMITS if name in budget}, budget["precision"])
    wanted, diversity = rng.choice(rows).mass, rng.choice(("none", "shape"))
    for cost, figure in (("params", "params"), ("macs", "macs"), ("peak_activation_bytes", "peak")):
        by_cost = sorted(fitting, key=lambda row, figure=figure: in_order_of(figure, row))  # type: ignore[misc]
        dense = [row for row in by_cost if row.mass >= wanted]
        expected = (first_of_each_shape(dense) if diversity == "shape" else dense)[:7]
        found = find(space, budget, Minimize(cost, float(wanted)), top_k=7, diversity=diversity)
        assert found_in(found) == [row.cells for row in expected]
        front: list[Row] = []
        for candidate in by_cost:
            if not front or candidate.mass > front[-1].mass:
                front.append(candidate)
        assert found_in(find(space, budget, Pareto((cost,)))) == [row.cells for row in front]


def test_a_space_of_several_numbers_of_cells_reads_back_equal() -> None:
    rng = Random("again")
    for _ in range(30):
        space = decode_space(of_counts(rng)[0])
        again = decode_space(space.to_json())
        assert (again, again.digest, hash(again)) == (space, space.digest, hash(space))


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"cells": [1, 5]}, "input", "too_small"),
        ({"cells": [0, 2]}, "cells.0", "too_small"),
        ({"cells": {"min": 2, "max": 13}}, "cells.max", "too_large"),
        ({"cells": []}, "cells", "bad_length"),
        ({"width": [[2], [3]]}, "width", "bad_length"),
        ({"width_rule": "doubling", "width": 4096}, "width.max", "too_large"),
    ],
)
def test_an_invalid_number_of_cells_names_its_field(change: dict[str, Any], field: str, code: str) -> None:
    image = {"channels": 3, "height": 16, "width": 16}
    axes = {"width": [2, 3], "depth": [3, 4], "skip_channels": [0, 2]}
    space = {"family": "densenet_cnn", "input": image, "num_classes": 3, "cells": [1, 2, 3], **axes}
    decode_space(space)
    with pytest.raises(DefinitionError) as refused:
        decode_space(space | change)
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [(field, code)]
